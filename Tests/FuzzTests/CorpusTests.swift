import Foundation
import Fuzzing
import Testing

@Suite("The corpora")
struct CorpusTests {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures/corpus")

    /// A stored input of a target.
    struct Stored: CustomTestStringConvertible, Sendable {
        let target: String
        let file: URL
        var testDescription: String { "\(target)/\(file.lastPathComponent)" }
    }

    static let stored: [Stored] = FuzzTarget.all.flatMap { target in
        let files = try? FileManager.default.contentsOfDirectory(
            at: folder.appending(path: target.name), includingPropertiesForKeys: nil)
        return (files ?? []).sorted { $0.path < $1.path }.map { Stored(target: target.name, file: $0) }
    }

    @Test("what a target promises holds for every stored input, those that once broke it included", arguments: stored)
    func holds(_ input: Stored) throws {
        let target = try #require(FuzzTarget.named(input.target))
        try target.run([UInt8](Data(contentsOf: input.file)))
    }

    @Test("every target has a corpus, and every corpus a target")
    func complete() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
        #expect(Set(folders.filter { !$0.contains(".") }) == Set(FuzzTarget.all.map(\.name)))
        for target in FuzzTarget.all { #expect(Self.stored.count { $0.target == target.name } >= 5, "\(target.name)") }
    }
}
