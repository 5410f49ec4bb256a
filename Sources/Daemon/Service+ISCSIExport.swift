import Block
import Devices
import Graph
import HostIO
import ISCSI
import QMPTypes
import SCSI

// iSCSI targets as exports.
extension Service {
    func iscsiExport(
        _ arguments: BlockExportOptions, _ options: BlockExportOptionsIscsi
    ) async throws(QMPError) -> Export {
        if arguments.nodeName != nil { throw QMPError("Parameter 'node-name' is unexpected") }
        guard Self.isTargetName(options.target) else {
            throw QMPError("'\(options.target.prefix(64))' is not the name of an iSCSI target (iqn., eui. or naa.)")
        }
        guard !options.lun.isEmpty else { throw QMPError("Parameter 'lun.0' is missing") }
        guard options.lun.count <= Self.unitLimit else {
            throw QMPError("A target has at most \(Self.unitLimit) logical units")
        }
        try refuseFixed(place(for: arguments))
        let chap = try secrets(options)
        let address = options.portal.map { HostIO.SocketAddress.inet(host: $0.host, port: $0.port) }
        let portal = try enterPortal(address ?? ISCSIPortal.standard)
        var sources: [ExportSource] = []
        do throws(QMPError) {
            for name in options.lun {
                sources.append(try await unitSource(name, for: arguments.id, isWritable: arguments.writable))
            }
            guard portal.server.target(named: options.target) == nil else {
                throw QMPError("The portal already has an iSCSI target named '\(options.target)'")
            }
        } catch {
            for source in sources { await release(source) }
            await leavePortal(portal)
            throw error
        }
        let target = ISCSITarget(
            name: options.target, scsi: SCSITarget(context: context, name: options.target),
            allowedInitiators: options.initiators ?? [], chap: chap)
        for (index, source) in sources.enumerated() {
            target.scsi.attach(
                drive(source, isProtected: arguments.writable == false), lun: UInt16(index), serial: serial(of: source))
        }
        portal.server.add(target)
        return Export(id: arguments.id, kind: .iscsi(target, portal), sources: sources)
    }

    func remove(_ target: ISCSITarget, from portal: ISCSIPortal, units: Int) async {
        await portal.server.remove(target)
        for lun in 0..<units { await target.scsi.detach(lun: UInt16(lun)) }
        await leavePortal(portal)
    }

    // MARK: Units

    /// Where nothing is said, a unit can be written as far as what it shows can. What has media to be exchanged follows
    /// them in any case.
    private func unitSource(
        _ name: String, for export: String, isWritable: Bool?
    ) async throws(QMPError) -> ExportSource {
        var mayWrite = false
        if let device = devices.device(name) {
            mayWrite = isWritable == true && !device.isRemovable
        } else if let node = graph.node(name) {
            mayWrite = isWritable ?? !node.isReadOnly
        }
        return try await source(name, for: export, isWritable: mayWrite) {}
    }

    private func serial(of source: ExportSource) -> String? {
        guard case .device(let user) = source, let id = user.device.guestID else { return nil }
        return serials[id]
    }

    private func drive(_ source: ExportSource, isProtected: Bool) -> any Drive {
        switch source {
        case .node(let root): NodeDrive(root)
        case .device(let user): isProtected ? ProtectedDrive(user.device) : user.device
        }
    }

    // MARK: Names and secrets

    /// Units of one target: what one byte numbers.
    private static let unitLimit = 256
    /// The shortest secret, in bytes: 96 bits (RFC 7143 section 9.2.1).
    private static let shortestSecret = 12

    /// RFC 7143 section 4.2.7: a type, then what is unique; at most 223 bytes.
    private static func isTargetName(_ name: String) -> Bool {
        guard let type = ["iqn.", "eui.", "naa."].first(where: { name.hasPrefix($0) }) else { return false }
        return name.utf8.count > type.utf8.count && name.utf8.count <= 223
            && name.allSatisfy { $0.isASCII && ($0.isLowercase || $0.isNumber || "-.:".contains($0)) }
    }

    private func secrets(_ options: BlockExportOptionsIscsi) throws(QMPError) -> CHAPSecrets? {
        guard let chap = options.chap else {
            if options.mutualChap != nil { throw QMPError("Parameter 'mutual-chap' needs 'chap'") }
            return nil
        }
        var result = CHAPSecrets(user: chap.user, secret: try bytes(of: chap))
        if let mutual = options.mutualChap {
            let secret = try bytes(of: mutual)
            guard secret != result.secret else {
                throw QMPError("Parameters 'chap' and 'mutual-chap' must not have the same secret")
            }
            result.mutual = (mutual.user, secret)
        }
        return result
    }

    private func bytes(of chap: IscsiChap) throws(QMPError) -> [UInt8] {
        guard let secret = secrets[chap.secret] else { throw QMPError("No secret with id '\(chap.secret)'") }
        guard secret.bytes.count >= Self.shortestSecret else {
            throw QMPError("Secret '\(chap.secret)' has fewer than \(Self.shortestSecret) bytes, too few for CHAP")
        }
        return secret.bytes
    }
}
