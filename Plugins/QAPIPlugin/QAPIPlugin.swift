import Foundation
import PackagePlugin

/// Generates the sources of `QMPTypes` from `Schema/*.json` before it is compiled.
@main
struct QAPIPlugin: BuildToolPlugin {
    /// The files that qapigen writes: a build command has to name them before it runs.
    private static let outputs = ["SchemaTypes.swift", "SchemaCommands.swift", "SchemaEvents.swift", "SchemaData.swift"]

    func createBuildCommands(context: PluginContext, target: any Target) async throws -> [Command] {
        let schema = context.package.directoryURL.appending(path: "Schema", directoryHint: .isDirectory)
        let folder = context.pluginWorkDirectoryURL
        let inputs = try FileManager.default.contentsOfDirectory(at: schema, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "json" }
        return [
            .buildCommand(
                displayName: "Generating QMP types from Schema",
                executable: try context.tool(named: "qapigen").url,
                arguments: [schema.path(), folder.path()],
                inputFiles: inputs,
                outputFiles: Self.outputs.map { folder.appending(path: $0) })
        ]
    }
}
