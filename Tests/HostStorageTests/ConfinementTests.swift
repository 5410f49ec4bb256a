import Block
import BlockTestKit
import Bytes
import Foundation
import Glibc
import HostIO
import HostStorage
import HostTestKit
import Synchronization
import Testing

/// Files that must lie in certain folders (`within`).
@Suite("Confined files")
struct ConfinementTests {
    static func open(_ path: String, within folders: [String], _ thread: IOThread) throws(OpenError) -> FileStorage {
        try FileStorage(FileOptions(filename: path, isReadOnly: true, locking: .off, within: folders), on: thread)
    }

    @Test("R27: what lies in the folder opens by any name that leads there; what does not is refused by every name")
    func names() async throws {
        let folder = Folder()
        let inside = folder.makeFolder("inside")
        folder.make("inside/disk", [1])
        folder.make("inside-out", [2])
        let secret = folder.make("secret", [2])
        folder.makeFolder("inside/deep")
        folder.link("inside/good", to: "disk")
        folder.link("inside/bad", to: secret)
        folder.link("inside/up", to: "..")
        folder.link("door", to: inside)
        try await onThread(.automatic) { thread in
            for name in ["inside/disk", "inside/good", "door/disk", "door/good", "inside/deep/../disk"] {
                let file = try Self.open(folder.file(name), within: [inside], thread)
                #expect(try await file.bytes(at: 0, count: 1) == [1], "\(name)")
            }
            // The folder itself may be named by a link, and there may be several.
            _ = try Self.open(folder.file("inside/disk"), within: ["/nowhere", folder.file("door")], thread)
            for name in ["secret", "inside/bad", "inside/up/secret", "inside/../secret", "inside-out", "door/bad"] {
                let path = folder.file(name)
                #expect(
                    await refusal { _ = try Self.open(path, within: [inside], thread) }
                        == "Could not open '\(path)': it lies outside the folders that are allowed")
            }
            #expect(await refusal { _ = try Self.open(folder.file("inside/disk"), within: [], thread) } != "")
            let none = folder.file("inside/none")
            #expect(
                await refusal { _ = try Self.open(none, within: [inside], thread) }
                    == "Could not open '\(none)': No such file or directory")
        }
    }

    @Test("R27: a reopening is confined as the first opening was")
    func reopening() async throws {
        let folder = Folder()
        let inside = folder.makeFolder("inside")
        let path = folder.make("inside/disk", [1])
        try await onThread(.automatic) { thread in
            let file = try Self.open(path, within: [inside], thread)
            var options = file.options
            options.isReadOnly = false
            file.commit(try file.prepareReopen(options))
            let moved = folder.file("moved")
            // Proof: the paths are lent as C strings for the calls.
            #expect(unsafe rename(path, moved) == 0)
            folder.link("inside/disk", to: moved)
            #expect(
                await refusal { _ = try file.prepareReopen(options) }
                    == "Could not open '\(path)': it lies outside the folders that are allowed")
        }
    }

    /// What somebody else does to the way to the file while we open it.
    enum Attack: CaseIterable { case link, folder }

    @Test("R27: whatever links somebody swaps under us, nothing outside is ever opened", arguments: Attack.allCases)
    func race(attack: Attack) async throws {
        let folder = Folder()
        let inside = folder.makeFolder("inside")
        folder.makeFolder("inside/real")
        folder.make("inside/real/disk", [1])
        folder.makeFolder("outside")
        folder.make("outside/disk", [2])
        folder.link("inside/way", to: attack == .link ? "real" : folder.file("outside"))
        let swapper = Swapper(folder, attack)
        let path = folder.file(attack == .link ? "inside/way/disk" : "inside/real/disk")
        try await onThread(.automatic) { thread in
            var opened = 0
            var refused = 0
            var outside = 0
            let end = thread.nowNs + 60_000_000_000
            while opened < 500 || refused < 500 || opened + refused < 20_000, thread.nowNs < end {
                do throws(OpenError) {
                    let file = try Self.open(path, within: [inside], thread)
                    opened += 1
                    if (try? await file.bytes(at: 0, count: 1)) != [1] { outside += 1 }
                } catch { refused += 1 }
            }
            #expect(outside == 0)
            #expect(opened >= 500)
            #expect(refused >= 500)
        }
        swapper.stop()
    }
}

/// A thread that leads a path inside and outside by turns, as fast as it can.
private final class Swapper: Sendable {
    private let isStopping = Atomic<Bool>(false)
    private let ended = Atomic<Bool>(false)

    init(_ folder: Folder, _ attack: ConfinementTests.Attack) {
        let (real, way, aside) = (folder.file("inside/real"), folder.file("inside/way"), folder.file("aside"))
        let outside = folder.file("outside")
        let thread = Thread { [self] in
            var turn = 0
            while !isStopping.load(ordering: .acquiring) {
                turn += 1
                // Proof: the paths are lent as C strings for the calls.
                switch attack {
                case .link:
                    _ = unsafe symlink(turn % 2 == 0 ? "real" : outside, aside)
                    _ = unsafe rename(aside, way)
                case .folder:
                    // The folder steps aside, the link takes its place, and back.
                    _ = unsafe rename(real, aside)
                    _ = unsafe rename(way, real)
                    _ = unsafe rename(real, way)
                    _ = unsafe rename(aside, real)
                }
            }
            ended.store(true, ordering: .releasing)
        }
        thread.start()
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        while !ended.load(ordering: .acquiring) { usleep(1000) }
    }
}
