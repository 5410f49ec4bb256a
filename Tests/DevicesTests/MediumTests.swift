import Block
import BlockTestKit
import Bytes
import Devices
import Graph
import GraphTestKit
import Testing

@Suite("what a medium is opened like, and what becomes of it")
struct MediumTests {
    @Test("a medium is opened like the one before, or as the drive was defined")
    func rootState() throws {
        let bench = DeviceBench()
        try bench.run {
            let host = bench.host
            let common = CommonOptions(discard: .unmap, detectZeroes: .unmap, direct: true, noFlush: true)
            try await bench.addNode("first", common)
            for name in ["second", "third"] { host.addRaw(name, bytes: 512) }
            let device = try await bench.add(.floppy, "F", drive: "first")
            try await bench.devices.changeMedium(id: "F", filename: "second", format: "raw")
            func check(_ isReadOnly: Bool) {
                let options = device.nodeName.flatMap { bench.graph.options(of: $0) }
                var wanted = common
                wanted.isReadOnly = isReadOnly
                #expect(options == wanted)
            }
            check(false)
            try await bench.devices.changeMedium(id: "F", filename: "first", format: "raw", readOnlyMode: .readOnly)
            check(true)
            try await bench.devices.eject(id: "F")
            try await bench.devices.changeMedium(id: "F", filename: "third", format: "raw")
            check(true)
            try await bench.devices.changeMedium(id: "F", filename: "second", format: "raw", readOnlyMode: .readWrite)
            check(false)
            #expect(host.specs.allSatisfy { !$0.autoReadOnly })
        }
    }

    @Test("a backend without a medium opens its first one as it was defined")
    func definedState() throws {
        let bench = DeviceBench()
        try bench.run {
            bench.host.addRaw("f", bytes: 512)
            var request = BackendRequest("b")
            request.rootState = RootState(isReadOnly: true)
            request.rootState.direct = true
            let device = try await bench.devices.add(request)
            try await bench.devices.changeMedium(device: "b", filename: "f", format: "raw")
            #expect(device.isReadOnly)
            #expect(bench.host.specs.last?.direct == true)
        }
    }

    @Test("without a format the content tells it", arguments: [BackingPolicy.qemu, .sealed])
    func probing(policy: BackingPolicy) throws {
        let bench = DeviceBench(policy)
        try bench.run {
            try await bench.host.addQcow2("q", size: 1 << 20)
            bench.host.addRaw("r", bytes: 1000)
            bench.host.addRaw("empty", bytes: 0)
            bench.host.devices = ["/dev/sr0"]
            bench.host.addRaw("/dev/sr0", bytes: 2048)
            let device = try await bench.add(.ideCD, "cd")
            func driver(_ name: String) async throws -> String? {
                try await bench.devices.changeMedium(id: "cd", filename: name)
                return device.nodeName.flatMap { bench.graph.node($0)?.driver }
            }
            #expect(try await driver("q") == "qcow2")
            #expect(device.length == 1 << 20)
            #expect(try await driver("r") == "raw")
            #expect(try await driver("file:q") == "qcow2")
            #expect(try await driver("empty") == "raw")
            #expect(try await driver("/dev/sr0") == "raw")
            #expect(bench.host.specs.last?.isDevice == true)
            #expect(await bench.reply { _ = try await driver("rbd:pool/image") } == "Unknown protocol 'rbd'")
            #expect(await bench.reply { _ = try await driver("json:{}") } == "Unknown protocol 'json'")
            bench.host.files["q"]?.storage.plan.add(Fault([.read]))
            #expect(
                await bench.reply { _ = try await driver("q") }
                    == "Could not read image for determining its format: Input/output error")
            #expect(device.nodeName.flatMap { bench.graph.node($0)?.filename } == "/dev/sr0")
        }
    }

    @Test("a medium's own backing file is opened under the policy")
    func backing() throws {
        for policy in [BackingPolicy.qemu, .sealed] {
            let bench = DeviceBench(policy)
            try bench.run {
                bench.host.addRaw("base", bytes: 1 << 20)
                try await bench.host.addQcow2("top", backing: "base", format: "raw")
                _ = try await bench.add(.ideCD, "cd")
                let reply = await bench.reply { try await bench.devices.changeMedium(id: "cd", filename: "top") }
                #expect((reply == "ok") == (policy == .qemu))
                #expect(bench.notes.take().isEmpty == (policy == .sealed))
            }
        }
    }

    @Test("every step of a change that fails leaves the old medium in, and nothing is told")
    func failures() throws {
        let bench = DeviceBench()
        try bench.run {
            let host = bench.host
            try await host.addQcow2("q")
            try await bench.addNode("disc", CommonOptions(isReadOnly: true))
            let device = try await bench.add(.scsiCD, "cd", drive: "disc")
            func change(_ mode: ReadOnlyMode = .retain, _ format: String? = nil) async -> String {
                let reply = await bench.reply {
                    try await bench.devices.changeMedium(id: "cd", filename: "q", format: format, readOnlyMode: mode)
                }
                #expect(bench.notes.take() == [])
                #expect(device.nodeName == "disc" && device.isReady && !device.isTrayOpen)
                #expect(host.files["disc"]?.handles.count == 1)
                #expect(bench.graph.nodes.count == 2)
                return reply
            }
            // Reading the header fails.
            host.files["q"]?.storage.plan.add(Fault([.read], nth: 1))
            #expect(await change() == "Could not read qcow2 header")
            // Another program writes to the image.
            let other = try await bench.host.open(FileSpec(filename: "q"))
            try other.acquirePermissions(used: .write, shared: .all)
            #expect(await change(.readWrite) == "Failed to get shared \"write\" lock")
            #expect(await change(.readOnly) == "Failed to get shared \"write\" lock")
            await other.close()
            #expect(await change(.retain, "nope") == "Unknown driver 'nope'")
            // The old medium is part of something else.
            try await host.addQcow2("overlay", backing: "disc", format: "raw")
            try await bench.graph.add(Make.qcow2("o", "overlay", backing: .child(.node("disc"))))
            let blocked = "Node 'cd' is busy: node is used as backing hd of 'o'"
            #expect(await bench.reply { try await bench.devices.changeMedium(id: "cd", filename: "q") } == blocked)
            #expect(await bench.reply { try await bench.devices.eject(id: "cd") } == blocked)
            try bench.devices.openTray(id: "cd")
            #expect(await bench.reply { try await bench.devices.removeMedium(id: "cd") } == blocked)
            try bench.devices.closeTray(id: "cd")
            #expect(bench.notes.take() == ["tray-open cd cd", "lost", "tray-closed cd cd", "found"])
        }
    }

    @Test("a floppy that is taken to be raw can be made to look otherwise: that is warned of, a CD is not")
    func probedRaw() throws {
        let bench = DeviceBench()
        try bench.run {
            bench.host.addRaw("r", bytes: 512)
            _ = try await bench.add(.ideCD, "cd")
            _ = try await bench.add(.floppy, "F")
            try await bench.devices.changeMedium(id: "cd", filename: "r")
            #expect(bench.notes.warnings.isEmpty)
            try await bench.devices.eject(id: "cd")
            try await bench.devices.changeMedium(id: "F", filename: "r", format: "raw")
            #expect(bench.notes.warnings.isEmpty)
            try await bench.devices.eject(id: "F")
            try await bench.devices.changeMedium(id: "F", filename: "r")
            #expect(bench.notes.warnings.count == 1)
        }
    }

    @Test("an old medium that fails as it closes is out all the same, and that is warned of")
    func failingClose() throws {
        let bench = DeviceBench()
        try bench.run {
            let file = try await bench.host.addQcow2("q")
            bench.host.addRaw("next", bytes: 512)
            let device = try await bench.add(.floppy, "F")
            try await bench.devices.changeMedium(id: "F", filename: "q")
            try await device.write([1], at: 0)
            file.storage.plan.add(Fault([.write, .flush], forever: true))
            try await bench.devices.changeMedium(id: "F", filename: "next", format: "raw")
            #expect(device.isReady && device.length == 512)
            // By the image, and by its file.
            #expect(bench.notes.warnings.count == 2)
            #expect(bench.host.files["q"]?.handles.isEmpty == true)
        }
    }

    @Test("an image that is in the drive is put in anew, but for one whose metadata would be open to be written twice")
    func sameImage() throws {
        let bench = DeviceBench()
        try bench.run {
            bench.host.addRaw("r", bytes: 512)
            try await bench.host.addQcow2("q")
            let device = try await bench.add(.floppy, "F")
            func change(_ file: String, _ format: String, _ mode: ReadOnlyMode = .retain) async -> String {
                await bench.reply {
                    try await bench.devices.changeMedium(id: "F", filename: file, format: format, readOnlyMode: mode)
                }
            }
            #expect(await change("r", "raw") == "ok")
            try await device.write([1], at: 0)
            #expect(await change("r", "raw") == "ok")
            try await device.write([2], at: 0)
            #expect(await change("r", "raw", .readOnly) == "ok")
            #expect(await change("r", "raw", .readWrite) == "ok")
            try await device.write([3], at: 0)
            #expect(await change("q", "qcow2") == "ok")
            #expect(await change("q", "qcow2") == "Failed to get \"write\" lock")
            try await device.write([4], at: 0)
        }
    }

    @Test("a permission that others do not share keeps a medium out")
    func insertionRefused() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("n")
            try await bench.graph.add(Make.raw("above", .node("n")))
            let writer = try await bench.graph.attach("e", to: "above", used: [.consistentRead, .write])
            let device = try await bench.add(.floppy, "F")
            let reply = await bench.reply { try await bench.devices.insertMedium(id: "F", nodeName: "n") }
            #expect(reply.hasPrefix("Permission conflict on node 'n': permissions 'write' are both required by"))
            #expect(!device.hasMedium && bench.notes.take() == [])
            await bench.graph.detach(writer)
            try await bench.devices.insertMedium(id: "F", nodeName: "n")
            #expect(device.isReady)
        }
    }

    @Test("a node that was lent stays after its removal, what was opened for the drive is closed")
    func release() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("lent")
            bench.host.addRaw("own", bytes: 512)
            let device = try await bench.add(.floppy, "F", drive: "lent")
            try await bench.devices.changeMedium(id: "F", filename: "own", format: "raw")
            #expect(bench.graph.node("lent") != nil)
            #expect(bench.host.openCount == 2)
            try await bench.devices.eject(id: "F")
            #expect(bench.host.openCount == 1)
            #expect(!device.hasMedium)
            try await bench.graph.delete("lent")
        }
    }
}
