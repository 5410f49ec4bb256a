import Block
import BlockTestKit
import Bytes
import Devices
import Filters
import Graph
import GraphTestKit
import Testing

@Suite("devices come and go")
struct DeviceTests {
    @Test("each model stands for its kind of drive")
    func models() {
        let kinds = Dictionary(uniqueKeysWithValues: DeviceModel.allCases.map { ($0.rawValue, $0.kind) })
        #expect(
            kinds == [
                "scsi-hd": .fixed, "ide-hd": .fixed, "virtio-blk": .fixed, "scsi-cd": .tray, "ide-cd": .tray,
                "floppy": .removable,
            ])
    }

    @Test("device_add refuses what cannot be, in QEMU's words, and nothing is left")
    func refusals() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("n")
            _ = try await bench.devices.add(BackendRequest("b"))
            _ = try await bench.add(.scsiCD, "cd")
            func add(_ model: DeviceModel, _ id: String, _ drive: String? = nil) async -> String {
                await bench.reply { _ = try await bench.add(model, id, drive: drive) }
            }
            #expect(await add(.scsiHD, "0bad", "n") == "Parameter 'id' expects an identifier")
            #expect(await add(.scsiHD, "cd", "n") == "Duplicate device ID 'cd'")
            #expect(await add(.scsiHD, "b", "n") == "Device with id 'b' already exists")
            #expect(await add(.scsiHD, "n", "n") == "Device name 'n' conflicts with an existing node name")
            #expect(await add(.virtioBlk, "d", "x") == "Property 'virtio-blk.drive' can't find value 'x'")
            #expect(await add(.scsiHD, "d") == "drive property not set")
            #expect(await add(.ideHD, "d", "b") == "Device needs media, but drive is empty")
            #expect(await add(.ideHD, "d", "cd") == "Drive 'cd' is already in use by another device")
            #expect(await add(.ideHD, "cd2", "n") == "ok")
            #expect(
                await add(.ideHD, "d", "n")
                    == "Permission conflict on node 'n': permissions 'write' are both required by block device 'd' (uses "
                    + "node 'n' as 'root' child) and unshared by block device 'cd2' (uses node 'n' as 'root' child).")
            #expect(bench.devices.devices.map(\.name) == ["b", "cd", "cd2"])
        }
    }

    @Test("a backend's name is neither another backend's nor a node's, and a node's is no backend's")
    func names() throws {
        let bench = DeviceBench()
        try bench.run {
            try await bench.addNode("n")
            bench.host.addRaw("f", bytes: 512)
            func backend(_ name: String, node: String? = nil) async -> String {
                await bench.reply {
                    var request = BackendRequest(name)
                    request.medium = Make.raw(node, .options(Make.file("f")))
                    try await bench.devices.add(request)
                }
            }
            #expect(await backend("n") == "Device name 'n' conflicts with an existing node name")
            #expect(await backend("d") == "ok")
            #expect(await backend("d") == "Device with id 'd' already exists")
            #expect(await backend("e", node: "d") == "node-name=d is conflicting with a device id")
            #expect(await backend("e", node: "e") == "node-name=e is conflicting with a device id")
            #expect(await bench.reply { try await bench.addNode("d") } == "node-name=d is conflicting with a device id")
            #expect(await backend("e", node: "n") == "Duplicate nodes with node-name='n'")
            #expect(await backend("_") == "Parameter 'id' expects an identifier")
            #expect(bench.devices.devices.map(\.name) == ["d"])
        }
    }

    @Test("a guest device on a bare backend takes it over, and leaves it as it was")
    func takeover() throws {
        let bench = DeviceBench()
        try bench.run {
            bench.host.addRaw("f", bytes: 4096)
            try await bench.devices.add(
                BackendRequest("drive0", medium: Make.raw(nil, .options(Make.file("f")))))
            let device = try await bench.add(.scsiCD, "cd0", drive: "drive0")
            #expect(device.name == "drive0" && device.guestID == "cd0" && device.kind == .tray)
            #expect(device.isReadOnly && device.isReady && device.model == .scsiCD)
            #expect(bench.devices.devices.count == 1)
            #expect(bench.devices.device("cd0") === device && bench.devices.device("drive0") === device)
            try bench.devices.openTray(id: "cd0")
            #expect(bench.notes.take() == ["tray-open drive0 cd0", "lost"])
            #expect(
                await bench.reply { try await bench.devices.delete(id: "drive0", nodeName: nil) }
                    == "Block backend drive0 is in use")
            #expect(
                await bench.reply { try await bench.devices.add(BackendRequest("cd0")) }
                    == "Device with id 'cd0' already exists")
            try await bench.devices.remove("cd0")
            #expect(bench.notes.take() == ["found", "deleted cd0"])
            #expect(device.guestID == nil && device.kind == .removable && !device.isTrayOpen && !device.isReadOnly)
            try await device.write([7], at: 0)
            #expect(
                await bench.reply { try await bench.devices.remove("cd0") } == "DeviceNotFound: Device 'cd0' not found")
            try await bench.devices.delete(id: "drive0", nodeName: nil)
            #expect(bench.devices.devices.isEmpty)
        }
    }

    @Test("exactly one of device and id names a device")
    func naming() throws {
        let bench = DeviceBench()
        try bench.run {
            let devices = bench.devices
            let text = "Need exactly one of 'device' and 'id'"
            _ = try await bench.add(.floppy, "f")
            for (device, id) in [(nil, nil), ("f", "f")] as [(String?, String?)] {
                #expect(await bench.reply { try devices.openTray(device: device, id: id) } == text)
                #expect(await bench.reply { try devices.closeTray(device: device, id: id) } == text)
                #expect(await bench.reply { try await devices.removeMedium(device: device, id: id) } == text)
                #expect(
                    await bench.reply { try await devices.insertMedium(device: device, id: id, nodeName: "x") } == text)
                #expect(await bench.reply { try await devices.eject(device: device, id: id) } == text)
                #expect(
                    await bench.reply { try await devices.changeMedium(device: device, id: id, filename: "x") } == text)
                #expect(await bench.reply { try devices.setThrottle(device: device, id: id, .init()) } == text)
            }
            let missing = "DeviceNotFound: Device 'x' not found"
            #expect(await bench.reply { try devices.openTray(id: "x") } == missing)
            #expect(await bench.reply { try await devices.insertMedium(id: "x", nodeName: "y") } == missing)
            #expect(await bench.reply { try await devices.changeMedium(device: "x", filename: "y") } == missing)
            #expect(await bench.reply { try await devices.eject(device: "x") } == missing)
            #expect(await bench.reply { try await devices.remove("x") } == missing)
        }
    }

    @Test("x-blockdev-del climbs its ladder")
    func deletion() throws {
        let bench = DeviceBench()
        try bench.run {
            let devices = bench.devices
            func delete(_ id: String?, _ node: String?) async -> String {
                await bench.reply { try await devices.delete(id: id, nodeName: node) }
            }
            #expect(await delete("a", "b") == "Only one of id and node-name must be specified")
            #expect(await delete(nil, nil) == "No block device specified")
            #expect(await delete("x", nil) == "Cannot find block backend x")
            #expect(await delete(nil, "x") == "Cannot find node x")
            try await bench.addNode("n")
            #expect(await delete(nil, "n") == "ok")
            #expect(bench.graph.node("n") == nil)
            bench.host.addRaw("f", bytes: 4096)
            try await devices.add(
                BackendRequest("b", medium: Make.raw("m", .options(Make.file("f", "child")))))
            #expect(await delete(nil, "m") == "Node m is in use by b")
            #expect(await delete(nil, "child") == "Node child is not owned by the monitor")
            let user = try devices.attach("export", toDevice: "b", isWritable: true)
            #expect(await delete("b", nil) == "Block backend b is in use")
            devices.detach(user)
            let reader = try await bench.graph.attach("exp", to: "m", used: .consistentRead, shared: .all)
            #expect(await delete("b", nil) == "Block device b is in use")
            await bench.graph.detach(reader)
            #expect(await delete("b", nil) == "ok")
            #expect(bench.graph.nodes.isEmpty)
            // A node from outside goes apart from the backend.
            try await bench.addNode("lent")
            try await devices.add(BackendRequest("b"))
            try await devices.insertMedium(device: "b", nodeName: "lent")
            #expect(await delete("b", nil) == "Block device b is in use")
            #expect(await bench.reply { try await bench.graph.delete("lent") } == "Node lent is in use")
            try await devices.eject(device: "b")
            #expect(await delete("b", nil) == "ok")
            #expect(await delete(nil, "lent") == "ok")
            // A child of another node is held by that.
            bench.host.addRaw("file", bytes: 512)
            try await bench.graph.add(Make.file("file", "pf"))
            try await bench.graph.add(Make.raw("top", .node("pf")))
            #expect(await delete(nil, "pf") == "Block device pf is in use")
        }
    }

    @Test("backends of drive_add go with drive_del alone")
    func driveDel() throws {
        let bench = DeviceBench()
        try bench.run {
            let devices = bench.devices
            for name in ["f", "g", "h"] { bench.host.addRaw(name, bytes: 512) }
            func add(_ name: String, _ file: String, _ origin: Device.Origin) async throws {
                try await devices.add(
                    BackendRequest(name, origin: origin, medium: Make.raw(nil, .options(Make.file(file)))))
            }
            try await add("a", "f", .driveAdd)
            try await add("b", "g", .blockdevAdd)
            try await add("c", "h", .driveAdd)
            _ = try await bench.add(.scsiHD, "hd", drive: "c")
            #expect(
                await bench.reply { try await devices.delete(id: "a", nodeName: nil) }
                    == "Deleting block backend added with drive-add is not supported")
            #expect(
                await bench.reply { try await devices.deleteDrive("b") }
                    == "Deleting device added with blockdev-add is not supported")
            #expect(await bench.reply { try await devices.deleteDrive("x") } == "DeviceNotFound: Device 'x' not found")
            try await devices.deleteDrive("a")
            try await devices.deleteDrive("c")
            #expect(devices.devices.map(\.name) == ["b", "c"])
            #expect(bench.notes.take() == ["lost"])
            #expect(devices.device("c")?.hasMedium == false)
            #expect(bench.host.openCount == 1)
        }
    }

    @Test("devices are told in the order of their creation")
    func order() throws {
        let bench = DeviceBench()
        try bench.run {
            for name in ["z", "a", "m"] { _ = try await bench.add(.floppy, name) }
            try await bench.devices.remove("a")
            _ = try await bench.add(.scsiCD, "b")
            #expect(bench.devices.devices.map(\.name) == ["z", "m", "b"])
        }
    }
}
