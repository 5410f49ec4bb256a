import Block
import BlockTestKit
import Bytes
import Graph
import GraphTestKit
import Simulation
import Testing

/// The images of the hostile set that name other files, opened with all they stand on: by the graph, on a host in memory
/// that has whatever they name.
@Suite("Hostile names")
struct HostileNameTests {
    /// Links are the host's affair, and encrypted images name nothing.
    static let histories: [HostileImage.History] = [.r14, .r20, .r21, .r22, .r23, .r24, .r25]

    /// A host with the files of an image, by their plain paths and as a name that goes round about spells them.
    private static func host(_ image: HostileImage) -> MemoryHost {
        let host = MemoryHost()
        for file in image.files { host.add(file.path, MemoryStorage(file.contents)) }
        for link in image.links { host.link(link.path, to: link.target) }
        let folder = PathText.folder(of: image.files[0].path)
        for file in image.files where file.path.hasPrefix(folder) {
            let name = file.path.dropFirst(folder.count)
            for detour in ["./", "././", "./" + "/", "../" + folder] {
                host.link(folder + detour + name, to: file.path)
            }
        }
        for path in ["/etc/shadow", "//etc/shadow", "/dev/zero", "/proc/self/environ", "/dev/fd/0", "/dev/fdset/1"] {
            host.addRaw(path, bytes: 1 << 20)
        }
        return host
    }

    /// What the graph says of an image, opened read-only as the user states; "" where it opened.
    private func open(_ image: HostileImage, _ host: MemoryHost, _ policy: BackingPolicy) throws -> String {
        let context = SimulatedContext(order: .fifo)
        let graph = Graph(context: context, Graph.Configuration(opener: host, backing: policy))
        let path = image.files[0].path
        let file = ChildReference.options(Make.file(path))
        let options =
            image.format == "raw" ? Make.raw("d", file, .readOnly) : Make.qcow2("d", file, backing: nil, .readOnly)
        return try context.complete {
            var complaint = ""
            do {
                _ = try await graph.add(options)
                let root = try await graph.attach("test", to: "d", used: .consistentRead)
                let bytes = try? await root.bytes(at: 0, count: 512)
                if image.format == "raw" {
                    #expect(
                        bytes == image.image.bytes(ByteRange(at: 0, count: 512)), "\(image) reads as another format")
                }
                await graph.detach(root)
            } catch let error as OpenError { complaint = error.message }
            await graph.close()
            return complaint
        }
    }

    @Test("R20 to R25: a sealed graph opens the image and nothing that it names", arguments: histories)
    func sealed(history: HostileImage.History) throws {
        for image in HostileImage.images(of: history) {
            let host = Self.host(image)
            _ = try open(image, host, .sealed)
            #expect(Set(host.specs.map(\.filename)) == [image.files[0].path], "\(image)")
        }
    }

    @Test("R20 to R25: what lies in the image's folder is opened, and nothing else", arguments: histories)
    func ownFolder(history: HostileImage.History) throws {
        for image in HostileImage.images(of: history) {
            let host = Self.host(image)
            _ = try open(image, host, .ownFolder)
            let granted = Set((image.granted.union([image.files[0].path])).compactMap { host.files[$0]?.inode })
            let foreign = host.specs.filter { !granted.contains(host.files[$0.filename]?.inode ?? 0) }
            #expect(foreign.isEmpty, "\(image) had \(foreign.map(\.filename)) opened")
            #expect(host.openCount == 0, "\(image)")
        }
    }

    @Test("R14: a chain that comes back to itself or has no end is refused, by every rule that follows it")
    func loops() throws {
        for image in HostileImage.images(of: .r14) {
            for policy in [BackingPolicy.ownFolder, .allowed(["."]), .qemu] {
                let host = Self.host(image)
                let complaint = try open(image, host, policy)
                let word = image.name.contains("a chain") ? "longer than 256 images" : "stands on itself"
                #expect(complaint.contains(word), "\(image): \(complaint)")
                #expect(host.specs.count <= 300 && host.openCount == 0, "\(image)")
            }
        }
    }

    @Test("R25: a format that nobody states is not guessed, but by QEMU's rules")
    func formats() throws {
        let images = HostileImage.images(of: .r25).filter { $0.name.contains("not stated") }
        #expect(!images.isEmpty)
        for image in images {
            for policy in [BackingPolicy.ownFolder, .allowed(["."])] {
                let complaint = try open(image, Self.host(image), policy)
                #expect(complaint.contains("does not state the format"), "\(image): \(complaint)")
            }
            let host = Self.host(image)
            _ = try open(image, host, .qemu)
            #expect(host.specs.contains { $0.filename == "in/base.raw" }, "\(image)")
        }
    }
}
