public import Block
public import Bytes

/// A device as whoever shows it to an initiator sees it: requests, and the tray.
///
/// Requests reach the medium only while it is in the drive and the tray is closed; otherwise they fail with `noMedium`
/// and `length` is 0. Confined to its context like all of the graph.
public protocol Drive: Storage {
    /// The name of the device: `device` and `id` of the commands.
    var name: String { get }
    var kind: DriveKind { get }
    /// Whether a medium is in and the tray closed.
    var isReady: Bool { get }
    /// Whether a medium is in, behind an open tray or a closed one.
    var hasMedium: Bool { get }
    /// Always false where there is no tray.
    var isTrayOpen: Bool { get }
    /// Whether writes are refused: by the medium, or because there is none.
    var isReadOnly: Bool { get }
    /// Whether an initiator keeps the medium in (PREVENT ALLOW MEDIUM REMOVAL).
    var isLocked: Bool { get }
    /// The initiator's lock, taken or given back by one of those that show the drive: it is held until all have given
    /// theirs back, or management opens the tray by force. Without effect on a fixed disk.
    func setLocked(_ isLocked: Bool, by holder: AnyObject)
    /// The initiator opens or closes the tray (START STOP UNIT). Answers whether it is as asked: false where the drive is
    /// locked. A change of position is told as `DEVICE_TRAY_MOVED`. Without effect where there is no tray.
    func moveTray(open: Bool) -> Bool
    /// The initiator gives the range up and is to read zeros there. What `zero` does, with `mayUnmap`; a device counts it
    /// with the discards.
    func unmap(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError)
    /// Held weakly.
    func addObserver(_ observer: any DriveObserver)
    func removeObserver(_ observer: any DriveObserver)
}

extension Drive {
    public func unmap(_ range: ByteRange, flags: ZeroFlags) async throws(BlockError) {
        try await zero(range, flags: flags.union(.mayUnmap))
    }
}

public enum DriveKind: String, CaseIterable, Sendable {
    /// A disk that stays: `scsi-hd`, `ide-hd`, `virtio-blk`.
    case fixed
    /// A tray that takes one medium: `scsi-cd`, `ide-cd`.
    case tray
    /// A medium that can be exchanged, without a tray: `floppy`, and a backend without a device.
    case removable
}

/// Whoever shows a drive to an initiator. Called on the drive's context from within its changes; it may note what it is
/// told and must not call back into the drive from there.
public protocol DriveObserver: AnyObject {
    /// Another medium is in reach, or none is any more: `isReady`, `length` and `isReadOnly` are those of now.
    func driveChangedMedium(_ drive: any Drive)
    /// Management wants the medium out and the drive is locked: the initiator is to be asked.
    func driveWantsEject(_ drive: any Drive)
    /// The medium is the same and its length another.
    func driveChangedLength(_ drive: any Drive)
}
