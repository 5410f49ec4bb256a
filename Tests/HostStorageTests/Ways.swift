import Block
import HostIO
import HostStorage
import HostTestKit
import Testing

/// A way to a file: the thread's engine, the file's, and whether past the page cache.
struct Way: Sendable, CustomTestStringConvertible {
    let engine: IOThread.EngineChoice
    let aio: FileOptions.AIO
    var direct = false

    static let cached = [
        Way(engine: .automatic, aio: .ioUring), Way(engine: .automatic, aio: .threads),
        Way(engine: .threads, aio: .ioUring),
    ]
    static let all =
        cached + [
            Way(engine: .automatic, aio: .native, direct: true), Way(engine: .automatic, aio: .threads, direct: true),
        ]

    var testDescription: String { "thread \(engine), aio=\(aio.rawValue)\(direct ? ", direct" : "")" }

    func options(_ path: String) -> FileOptions { FileOptions(filename: path, aio: aio, direct: direct) }
}

func repeated(_ byte: UInt8, _ count: Int) -> [UInt8] { [UInt8](repeating: byte, count: count) }
