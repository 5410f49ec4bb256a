import Block
import BlockTestKit
import Bytes
import Glibc
import HostIO
import HostStorage
import HostTestKit
import Testing

/// What a file says of itself while the kernel still holds what was written: copies are made by it, and would leave out
/// what it calls a hole.
@Suite("Block status of what is not on the disk yet", .serialized)
struct UnflushedTests {
    private static let block: UInt64 = 4096
    private static let blocks = 512

    @Test("R72: here, what was written and not flushed is never told as a hole", arguments: Way.all)
    func here(way: Way) async throws {
        try await change(Folder(), way, seed: 1)
    }

    @Test(
        "R71, R72: nor is it on a file system of any kind, and no request but a new size changes a length",
        arguments: FileSystem.Kind.allCases)
    func mounted(kind: FileSystem.Kind) async throws {
        guard let mounted = FileSystem(kind) else {
            try Test.cancel("skipped: the host does not let us mount \(kind)")
        }
        for (index, way) in (kind == .tmpfs ? Way.cached : Way.all).enumerated() {
            try await change(mounted.folder, way, seed: UInt64(index))
        }
    }

    /// Changes a file at random, space that was taken and not written among it, and asks after each change.
    private func change(_ folder: Folder, _ way: Way, seed: UInt64) async throws {
        let path = folder.make("file-\(seed)-\(way.direct)")
        try await onThread(way.engine) { thread in
            let file = try FileStorage(way.options(path), on: thread)
            var random = SeededRandom(seed: seed)
            var isData = [Bool](repeating: false, count: Self.blocks)
            try await file.resize(to: UInt64(isData.count) * Self.block)
            for step in 0..<80 {
                let first = random.below(isData.count)
                let count = min(1 + random.below(24), isData.count - first)
                let range = ByteRange(at: UInt64(first) * Self.block, count: UInt64(count) * Self.block)
                do {
                    switch random.below(8) {
                    case 0: try await file.zero(range, flags: [])
                    case 1: try await file.zero(range, flags: .mayUnmap)
                    case 2: try await file.discard(range)
                    case 3:
                        // Cut and grown again: what comes back is a hole.
                        try await file.resize(to: range.start)
                        try await file.resize(to: UInt64(isData.count) * Self.block)
                        for block in first..<isData.count { isData[block] = false }
                    default: try await file.write(repeated(UInt8(1 + step), Int(range.count)), at: range.start)
                    }
                } catch BlockError.unsupported {
                    // A file system that cannot zero without a hole has changed nothing.
                    continue
                }
                let isWritten = try await file.bytes(at: range.start, count: Int(Self.block))[0] != 0
                for block in first..<first + count { isData[block] = isWritten }
                try await walk(file, isData, "\(way), step \(step)")
            }
        }
    }

    private func walk(_ file: FileStorage, _ isData: [Bool], _ about: String) async throws {
        let length = UInt64(isData.count) * Self.block
        #expect(file.length == length && hostStatus(file.filename).st_size == Int(length), "\(about)")
        var rest = ByteRange(at: 0, count: length)
        while !rest.isEmpty {
            let status = try await file.status(of: rest)
            try #require(status.count > 0 && status.count <= rest.count, "\(about)")
            let told = rest.prefix(status.count)
            if status.flags.contains(.zero) {
                let blocks = Int(told.start / Self.block)..<Int((told.end + Self.block - 1) / Self.block)
                #expect(!isData[blocks].contains(true), "\(about): data in \(told), told as zeros")
            }
            rest = rest.dropping(status.count)
        }
    }
}
