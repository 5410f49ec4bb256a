import Block
import Devices
import Graph
import Image
import JSON
import QMPTypes

// Commands that make, change and use drives.
extension HumanMonitor {
    func eject(_ line: HumanCommandLine) async throws(QMPError) -> String {
        try await service.eject(EjectArguments(device: line["device"], force: line.flags.contains("f")))
        return ""
    }

    func change(_ line: HumanCommandLine) async throws(QMPError) -> String {
        if line["device"] == "vnc" { throw QMPError("The feature 'vnc' is not enabled") }
        var mode: BlockdevChangeReadOnlyMode?
        if let text = line.optional("mode") {
            mode = BlockdevChangeReadOnlyMode(rawValue: text)
            if mode == nil { throw QMPError("invalid parameter value: \(text)") }
        }
        try await service.blockdevChangeMedium(
            BlockdevChangeMediumArguments(
                device: line["device"], filename: line["target"], format: line.optional("format"),
                force: line.flags.contains("f"), readOnlyMode: mode))
        return ""
    }

    // MARK: Drives

    /// The address is QEMU's affair: there are no buses here.
    func driveAdd(_ line: HumanCommandLine) async -> String {
        do throws(QMPError) {
            if line.flags.contains("n") {
                let (options, _) = try KeyValue.parse(line["options"])
                try await service.blockdevAdd(try BlockdevOptions(QAPIInput(.object(options), isText: true)))
                return ""
            }
            let drive = try DriveOptions(line["options"])
            guard service.devices.device(drive.id) == nil else { return "Duplicate ID '\(drive.id)' for drive\n" }
            var request = BackendRequest(drive.id, origin: .driveAdd, medium: drive.medium)
            request.rootState = RootState(drive.common)
            do throws(DeviceError) { try await service.devices.add(request) } catch { throw QMPError(error) }
            return "OK\n"
        } catch {
            return error.message + "\n"
        }
    }

    /// A drive, or a node that `drive_add -n` made.
    func driveDel(_ line: HumanCommandLine) async -> String {
        let id = line["id"]
        if service.devices.devices.contains(where: { $0.name == id }) {
            do throws(DeviceError) { try await service.devices.deleteDrive(id) } catch { return error.message + "\n" }
            return ""
        }
        guard let node = service.graph.node(id), node.isMonitorOwned else { return "Device '\(id)' not found\n" }
        do throws(OpenError) { try await service.graph.delete(id) } catch { return error.message + "\n" }
        return ""
    }

    // MARK: Requests

    func qemuIO(_ line: HumanCommandLine) async throws(QMPError) -> String {
        let command: IOCommand?
        var text = ""
        do throws(IOCommand.Mistake) { command = try IOCommand(line["command"]) } catch {
            command = nil
            text = error.message
        }
        // The device is looked for first.
        let name = line["device"]
        if let device = service.devices.device(name) {
            if let command { text = await command.run(on: device, nowNs: { service.context.nowNs }) }
        } else if line.flags.contains("d") || service.graph.node(name) == nil {
            throw QMPError(
                line.flags.contains("d")
                    ? "Device '\(name)' not found" : "Cannot find device='' nor node-name='\(name)'")
        } else if let command {
            text = try await run(command, onNode: name)
        }
        guard service.configuration.actsAsQEMU else { return text }
        // QEMU prints it where nobody who asked reads it.
        service.host.say(text)
        return ""
    }

    private func run(_ command: IOCommand, onNode name: String) async throws(QMPError) -> String {
        let root: BlockRoot
        do throws(OpenError) {
            root = try await service.graph.attach(
                "qemu-io", to: name, used: command.permissions, shared: .all)
        } catch { throw QMPError(error) }
        let text = await command.run(on: root, nowNs: { service.context.nowNs })
        await service.graph.detach(root)
        return text
    }
}

extension IOCommand {
    fileprivate var permissions: Permissions {
        switch operation {
        case .truncate: [.consistentRead, .write, .resize]
        default: isWriting ? [.consistentRead, .write] : .consistentRead
        }
    }
}
