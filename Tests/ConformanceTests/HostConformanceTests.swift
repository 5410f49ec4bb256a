import Block
import BlockTestKit
import Bytes
import Filters
import HostIO
import HostStorage
import HostTestKit
import Qcow2
import Testing

@testable import Graph

/// The same checks on files of the host, on real threads.
@Suite struct HostConformanceTests {
    /// What stands on the file.
    enum Stack: String, CaseIterable, Sendable { case file, walker, raw, faults, qcow2, readOnly }

    struct Kind: Sendable, CustomTestStringConvertible {
        let stack: Stack
        let engine: IOThread.EngineChoice
        let aio: FileOptions.AIO
        let direct: Bool
        var testDescription: String {
            "\(stack.rawValue), thread \(engine), aio=\(aio.rawValue)\(direct ? ", direct" : "")"
        }
    }

    static let kinds: [Kind] = Stack.allCases.flatMap { stack in
        [
            Kind(stack: stack, engine: .automatic, aio: .ioUring, direct: false),
            Kind(stack: stack, engine: .automatic, aio: .threads, direct: false),
            Kind(stack: stack, engine: .threads, aio: .ioUring, direct: false),
            Kind(stack: stack, engine: .automatic, aio: .native, direct: true),
            Kind(stack: stack, engine: .threads, aio: .threads, direct: true),
        ]
    }

    static let size: UInt64 = 512 << 10

    static func storage(_ kind: Kind, _ folder: Folder, _ thread: IOThread) async throws -> any Storage {
        let path = folder.make("disk")
        var options = FileOptions(filename: path, aio: kind.aio, direct: kind.direct)
        let file = try FileStorage(options, on: thread)
        if kind.stack != .qcow2 { try await file.resize(to: kind.stack == .raw ? size + 65536 : size) }
        let walker = BlockIO(context: thread, driver: .storage(file))
        switch kind.stack {
        case .file: return file
        case .walker: return walker
        case .readOnly:
            options.isReadOnly = true
            return try FileStorage(options, on: thread)
        case .faults: return FaultFilter(file, FaultPlanner(errors: []), on: thread)
        case .raw:
            let window = RawOptions(file: .node("file"), offset: 1536, size: size)
            return BlockIO(context: thread, driver: .format(try RawFormat(window, on: walker)), file: walker)
        case .qcow2:
            try await Qcow2Image.create(on: walker, CreateOptions(size: size))
            let image = try await Qcow2Image.open(file: walker, options: Options())
            return BlockIO(context: thread, driver: .format(image), file: walker)
        }
    }

    @Test("a storage on the host keeps its promises", arguments: kinds, 0..<2 as Range<UInt64>)
    func conforms(kind: Kind, seed: UInt64) async throws {
        let folder = Folder()
        try await onThread(kind.engine) { thread in
            let storage = try await Self.storage(kind, folder, thread)
            let exceptions: Conformance.Exceptions =
                switch kind.stack {
                case .readOnly: .readOnly
                case .raw: .fixedLength
                default: []
                }
            var conformance = Conformance(of: storage, in: thread, seed: seed, exceptions)
            try await conformance.run()
            (storage as? BlockIO)?.retire()
        }
    }
}
