import Block
import Bytes
import Glibc
import HostIO
import HostStorage
import HostTestKit
import Testing

@Suite("Sets of passed descriptors")
struct DescriptorSetTests {
    private func passed(_ path: String, writable: Bool) -> Descriptor {
        // Proof: the path is lent as a C string for the call.
        Descriptor(owning: unsafe Glibc.open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC))
    }

    private func open(_ sets: DescriptorSets, _ id: String, readOnly: Bool = false, _ thread: IOThread)
        throws(OpenError) -> FileStorage
    {
        try FileStorage(FileOptions(filename: "/dev/fdset/\(id)", isReadOnly: readOnly), from: sets, on: thread)
    }

    @Test("a file is opened from the descriptor whose access mode it wants, and outlives that")
    func opening() async throws {
        let folder = Folder()
        let path = folder.make("a", repeated(7, 4096))
        try await onThread(.automatic) { thread in
            let sets = DescriptorSets()
            #expect(try sets.add(passed(path, writable: false), to: nil, opaque: "o") == 0)
            #expect(
                await refusal { _ = try open(sets, "0", thread) }
                    == "Could not dup FD for /dev/fdset/0 flags 2: Permission denied")
            #expect(
                await refusal { _ = try open(sets, "1", thread) }
                    == "Could not dup FD for /dev/fdset/1 flags 2: No such file or directory")
            #expect(try sets.add(passed(path, writable: true), to: 0, opaque: nil) == 0)
            let file = try open(sets, "0", thread)
            try await file.write(at: 0, from: repeated(1, 3).byteSpan, flags: [])
            let reading = try open(sets, "0", readOnly: true, thread)
            #expect(reading.isReadOnly)
            try sets.remove(nil, from: 0)
            // The set stays as long as something is open from it, and what is open goes on.
            #expect(sets.sets.map(\.entries.count) == [0])
            try await file.write(at: 3, from: repeated(4, 1).byteSpan, flags: [])
            file.closeFile()
            #expect(sets.sets.count == 1)
            reading.closeFile()
            #expect(sets.sets.isEmpty)
            #expect(descriptors(of: path).isEmpty)
        }
    }

    @Test("a file that is none gives its descriptor back")
    func wrongKind() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(.automatic) { thread in
            let sets = DescriptorSets()
            _ = try sets.add(passed(path, writable: true), to: 4, opaque: nil)
            let options = FileOptions(filename: "/dev/fdset/4", isDevice: true)
            #expect(await refusal { _ = try FileStorage(options, from: sets, on: thread) } != "")
            try sets.remove(nil, from: 4)
            #expect(sets.sets.isEmpty)
            #expect(descriptors(of: path).isEmpty)
        }
    }

    @Test("numbers are given from the lowest free one, and sets are removed by number and descriptor")
    func numbers() throws {
        let folder = Folder()
        let path = folder.make("a")
        let sets = DescriptorSets()
        func add(_ id: Int64?) throws -> Int64 { try sets.add(passed(path, writable: true), to: id, opaque: nil) }
        #expect(try [add(nil), add(2), add(nil), add(nil), add(2)] == [0, 2, 1, 3, 2])
        #expect(sets.sets.map(\.id) == [0, 1, 2, 3])
        let first = try #require(sets.sets[2].entries.first?.descriptor.number)
        try sets.remove(Int64(first), from: 2)
        #expect(sets.sets[2].entries.count == 1)
        #expect(throws: OpenError("File descriptor named 'fdset-id:2, fd:\(first)' not found")) {
            try sets.remove(Int64(first), from: 2)
        }
        #expect(throws: OpenError("File descriptor named 'fdset-id:9' not found")) { try sets.remove(nil, from: 9) }
        #expect(throws: OpenError("Parameter 'fdset-id' expects a non-negative value")) { try add(-1) }
        sets.lastClientLeft()
        #expect(sets.sets.isEmpty)
        #expect(descriptors(of: path).isEmpty)
    }

    @Test("clients cannot use up the descriptors of the process")
    func limit() throws {
        let folder = Folder()
        let path = folder.make("a")
        let sets = DescriptorSets()
        for index in 0..<DescriptorSets.limit {
            _ = try sets.add(passed(path, writable: true), to: Int64(index % 7), opaque: nil)
        }
        #expect(throws: OpenError.self) { try sets.add(passed(path, writable: true), to: nil, opaque: nil) }
        #expect(descriptors(of: path).count == DescriptorSets.limit)
    }

    @Test("a name that only an image gives is a file's, never a descriptor's")
    func names() async throws {
        let folder = Folder()
        let path = folder.make("a")
        try await onThread(.automatic) { thread in
            let sets = DescriptorSets()
            _ = try sets.add(passed(path, writable: true), to: 0, opaque: nil)
            let options = FileOptions(filename: "/dev/fdset/0", within: [folder.path])
            #expect(await refusal { _ = try FileStorage(options, from: sets, on: thread) } != "")
            for name in ["x", "", "-1", "+1", "0x", "99999999999999999999"] {
                #expect(
                    await refusal { _ = try open(sets, name, thread) } == "Could not parse fdset /dev/fdset/\(name)")
            }
        }
    }
}
