/// The models that `device_add` knows; each stands for one kind of drive.
public enum DeviceModel: String, CaseIterable, Sendable {
    case scsiHD = "scsi-hd"
    case ideHD = "ide-hd"
    case virtioBlk = "virtio-blk"
    case scsiCD = "scsi-cd"
    case ideCD = "ide-cd"
    case floppy

    public var kind: DriveKind {
        switch self {
        case .scsiHD, .ideHD, .virtioBlk: .fixed
        case .scsiCD, .ideCD: .tray
        case .floppy: .removable
        }
    }
}
