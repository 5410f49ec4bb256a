import Commands
import HostIO
import Image
import Qcow2

/// `snapshot`: the internal snapshots of an image.
struct ImgSnapshot: ImgCommand {
    static let syntax = CommandSyntax(
        "snapshot", "Lists, makes, applies and removes the snapshots inside an image.",
        operands: [.init(.image, "the image")],
        options: [list, create, apply, delete, .quiet, .format, .imageOpts, .object, .forceShare],
        examples: [
            .init("-f qcow2 -c before-upgrade disk.qcow2", "keep the disk as it is now"),
            .init("-f qcow2 -a before-upgrade disk.qcow2", "make the disk what it was then"),
        ])

    private static let list = OptionSyntax("list", short: "l", "list them")
    private static let create = OptionSyntax("create", short: "c", value: "NAME", "make one of the disk as it is")
    private static let apply = OptionSyntax("apply", short: "a", value: "NAME", "make the disk what it was at this one")
    private static let delete = OptionSyntax("delete", short: "d", value: "NAME", "remove this one")

    enum Action: Equatable {
        case list
        case create(String)
        case apply(String)
        case delete(String)
    }

    let path: String
    let format: String?
    let action: Action?
    let forceShare: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        let actions = words.options.compactMap { Self.action($0) }
        guard actions.count <= 1 else { throw UsageMistake("Cannot mix '-l', '-a', '-c', '-d'") }
        action = actions.first
        path = try words.image()
        format = words[.format]
        forceShare = words.has(.forceShare)
    }

    private static func action(_ given: CommandWords.Given) -> Action? {
        switch given.option.long {
        case list.long: .list
        case create.long: .create(given.value)
        case apply.long: .apply(given.value)
        case delete.long: .delete(given.value)
        default: nil
        }
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        try await session.tool.snapshot(path, format: format, toolAction, forceShare: forceShare)
        return 0
    }

    /// With the time, as of now. The instruction count is 0, as qemu-img has it.
    private var toolAction: ImageTool.SnapshotAction? {
        switch action {
        case nil: return nil
        case .list: return .list
        case .apply(let name): return .apply(name)
        case .delete(let name): return .delete(name)
        case .create(let name):
            let nowUs = IOThread.wallClockUs
            return .create(
                NewSnapshot(
                    name: name, dateSeconds: UInt32(truncatingIfNeeded: nowUs / 1_000_000),
                    dateNanoseconds: UInt32(nowUs % 1_000_000) * 1000, instructionCount: 0))
        }
    }
}
