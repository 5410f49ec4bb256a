import Block
import BlockTestKit
import Bytes
import Devices
import Graph
import GraphTestKit
import Testing

@Suite("who uses devices")
struct UserTests {
    @Test("an export's requests follow the medium, and it is told of each change")
    func export() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("a")
            bench.host.addRaw("b", bytes: 512)
            _ = try await bench.add(.floppy, "F", drive: "a")
            var changes: [UInt64] = []
            var user: DeviceUser?
            user = try bench.devices.attach("e", toDevice: "F", isWritable: true) {
                changes.append(user?.device.length ?? 1)
            }
            let export = try #require(user)
            #expect(export.device.users == ["e"])
            try await export.device.write([1], at: 0)
            try await bench.devices.changeMedium(id: "F", filename: "b", format: "raw")
            try await bench.devices.eject(id: "F")
            #expect(changes == [512, 0])
            #expect(!export.device.isReady)
            #expect(await bench.reply { try await bench.devices.remove("F") } == "Device 'F' is in use by 'e'")
            bench.devices.detach(export)
            try await bench.devices.insertMedium(id: "F", nodeName: "a")
            #expect(changes == [512, 0])
            try await bench.devices.remove("F")
        }
    }

    @Test("an export writes only where the device does")
    func writable() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("ro", CommonOptions(isReadOnly: true))
            try await bench.addNode("rw")
            _ = try await bench.add(.floppy, "F", drive: "ro")
            _ = try await bench.add(.scsiCD, "cd", drive: "rw")
            _ = try await bench.add(.scsiCD, "empty")
            _ = try await bench.add(.floppy, "F2")
            func attach(_ device: String, _ isWritable: Bool) async -> String {
                await bench.reply {
                    bench.devices.detach(try bench.devices.attach("e", toDevice: device, isWritable: isWritable))
                }
            }
            for name in ["F", "cd", "empty"] {
                #expect(await attach(name, true) == "Cannot export read-only node as writable")
                #expect(await attach(name, false) == "ok")
            }
            #expect(await attach("F2", true) == "ok")
            #expect(await attach("x", false) == "DeviceNotFound: Device 'x' not found")
        }
    }

    @Test("a guest device keeps others from writing unless it shares that, a bare backend stands everything")
    func sharing() throws {
        let bench = DeviceBench()
        try bench.run {
            for name in ["a", "b", "c"] { try await bench.addNode(name) }
            _ = try await bench.add(.scsiHD, "A", drive: "a")
            var request = DeviceRequest(.scsiHD, id: "B", drive: "b")
            request.sharesWrites = true
            try await bench.devices.add(request)
            try await bench.devices.add(BackendRequest("C"))
            try await bench.devices.insertMedium(device: "C", nodeName: "c")
            func write(_ node: String) async -> String {
                await bench.reply {
                    let root = try await bench.graph.attach(
                        "w", to: node, used: [.consistentRead, .write], shared: .all)
                    await bench.graph.detach(root)
                }
            }
            #expect(
                await write("a")
                    == "Permission conflict on node 'a': permissions 'write' are both required by an unnamed block device "
                    + "(uses node 'a' as 'root' child) and unshared by block device 'A' (uses node 'a' as 'root' child)."
            )
            #expect(await write("b") == "ok")
            #expect(await write("c") == "ok")
        }
    }

    @Test("block_resize by device tells the initiator, and an open tray keeps it from it")
    func resize() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("n")
            let device = try await bench.add(.scsiHD, "D", drive: "n")
            try await bench.graph.resize(device: "D", nodeName: nil, to: 1 << 20)
            try await bench.graph.resize(device: nil, nodeName: "n", to: 1 << 20)
            #expect(bench.notes.take() == ["length 1048576"])
            #expect(device.length == 1 << 20)
            try await bench.addNode("disc")
            _ = try await bench.add(.scsiCD, "cd", drive: "disc")
            try bench.devices.openTray(id: "cd")
            _ = bench.notes.take()
            try await bench.graph.resize(device: "cd", nodeName: nil, to: 4096)
            #expect(bench.notes.take() == [])
            _ = try await bench.add(.floppy, "empty")
            #expect(
                await bench.reply { try await bench.graph.resize(device: "empty", nodeName: nil, to: 4096) }
                    == "Device 'empty' has no medium")
        }
    }

    @Test("a device moves to the overlay, under writes, and names its base's holder")
    func snapshot() throws {
        let bench = DeviceBench()
        try bench.run {
            for name in ["base", "top"] { try await bench.host.addQcow2(name, size: 1 << 20) }
            try await bench.graph.add(Make.qcow2("n0", "base"))
            let device = try await bench.add(.virtioBlk, "D", drive: "n0")
            try await device.write([1], at: 0)
            try await bench.graph.add(Make.qcow2("n1", "top", backing: BackingReference.none))
            try await bench.graph.snapshot(node: "D", overlay: "n1")
            #expect(device.nodeName == "n1")
            #expect(bench.notes.take() == [])
            try await device.write([2], at: 1)
            #expect(try await device.bytes(at: 0, count: 2) == [1, 2])
            try await bench.graph.snapshotSync(
                SnapshotSyncRequest(device: "D", snapshotFile: "top2", snapshotNodeName: "n2"))
            #expect(device.nodeName == "n2")
            // It goes with the device, as in QEMU.
            try await bench.devices.remove("D")
            #expect(bench.graph.node("n2") == nil)
            #expect(bench.graph.node("n1")?.isMonitorOwned == true)
        }
    }

    @Test("an overlay of another size changes the length")
    func longerOverlay() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.host.addQcow2("base", size: 1 << 20)
            try await bench.host.addQcow2("top", size: 1 << 21)
            try await bench.graph.add(Make.qcow2("n0", "base"))
            let device = try await bench.add(.virtioBlk, "D", drive: "n0")
            try await bench.graph.add(Make.qcow2("n1", "top", backing: BackingReference.none))
            try await bench.graph.snapshot(node: "D", overlay: "n1")
            #expect(device.length == 1 << 21)
            #expect(bench.notes.take() == ["length 2097152"])
        }
    }
}
