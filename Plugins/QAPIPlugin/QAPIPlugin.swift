import Foundation
import PackagePlugin

/// Runs qapigen over Schema/ before QMPTypes is compiled. Its outputs are a fixed set, named here and in
/// `SwiftGenerator.files`.
@main
struct QAPIPlugin: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: any Target) async throws -> [Command] {
        let folder = context.package.directoryURL.appending(path: "Schema")
        let schemas = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "json" }
        let output = context.pluginWorkDirectoryURL
        let files = ["QAPITypes.swift", "QMPCommands.swift", "QMPEvents.swift", "QMPIntrospection.swift"]
        return [
            .buildCommand(
                displayName: "qapigen Schema", executable: try context.tool(named: "qapigen").url,
                arguments: [folder.path, output.path], inputFiles: schemas,
                outputFiles: files.map { output.appending(path: $0) })
        ]
    }
}
