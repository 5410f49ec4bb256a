import Foundation
import HostIO
import Image
import Qcow2

/// One command of the image tool, carried out on an I/O thread of its own.
struct ImgRun: Sendable {
    let arguments: ImgArguments
    let asQEMU: Bool

    /// The exit code, or why there was no result.
    func finish() -> Result<Int32, ImageError> {
        OwnThread.run { thread in
            do throws(ImageError) { return .success(try await run(on: thread)) } catch { return .failure(error) }
        }
    }

    private func run(on thread: IOThread) async throws(ImageError) -> Int32 {
        let tool = ImageTool(
            files: HostFiles(thread), context: thread, rule: asQEMU ? .any : .ownFolder,
            output: { Program.say($0) }, report: { Program.complain($0 + "\n") }, localTime: Self.localTime)
        let path = arguments.operands[0]
        switch arguments.command {
        case .amend:
            try await amend(tool, path)
            return 0
        case .create:
            let request = try CreateRequest(
                path: path, format: arguments.format, options: arguments.options,
                backingFile: arguments.backingFile, backingFormat: arguments.backingFormat,
                size: arguments.operands.count > 1 ? arguments.operands[1] : nil,
                checksBacking: arguments.checksBacking)
            try await tool.create(request, quiet: arguments.isQuiet)
            return 0
        case .resize:
            let request = try ResizeRequest(
                path: path, format: arguments.format, size: arguments.size, preallocation: arguments.preallocation,
                mayShrink: arguments.mayShrink)
            try await tool.resize(request, quiet: arguments.isQuiet)
            return 0
        case .info:
            try await tool.info(
                path, format: arguments.format, form: arguments.form, chain: arguments.chain,
                forceShare: arguments.forceShare)
            return 0
        case .check:
            return try await tool.check(
                path, format: arguments.format, form: arguments.form, repair: arguments.repair,
                doctor: arguments.doctor, quiet: arguments.isQuiet, forceShare: arguments.forceShare)
        case .map:
            try await tool.map(
                path, format: arguments.format, form: arguments.form, start: arguments.start,
                count: arguments.count, forceShare: arguments.forceShare)
            return 0
        case .bitmap:
            try await tool.bitmap(bitmapRequest)
            return 0
        case .snapshot:
            try await tool.snapshot(
                path, format: arguments.format, snapshotAction, forceShare: arguments.forceShare)
            return 0
        }
    }

    private func amend(_ tool: ImageTool, _ path: String) async throws(ImageError) {
        let request = AmendRequest(path: path, format: arguments.format, options: arguments.options)
        guard arguments.showsProgress, !arguments.isQuiet else { return try await tool.amend(request) }
        var line = ProgressText()
        defer { Program.say(ProgressText.end) }
        try await tool.amend(request) { share in if let text = line.text(share) { Program.say(text) } }
    }

    /// The instruction count is 0, as qemu-img has it.
    private var snapshotAction: ImageTool.SnapshotAction? {
        switch arguments.snapshotAction {
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

    private var bitmapRequest: BitmapRequest {
        BitmapRequest(
            path: arguments.operands[0], format: arguments.format, name: arguments.operands[1],
            commands: arguments.bitmapCommands, granularity: arguments.granularity, source: arguments.sourceFile,
            sourceFormat: arguments.sourceFormat)
    }

    private static func localTime(_ seconds: UInt32) -> String {
        let parts = Calendar(identifier: .gregorian).dateComponents(
            in: .current, from: Date(timeIntervalSince1970: TimeInterval(seconds)))
        func two(_ number: Int?) -> String { (number ?? 0) < 10 ? "0\(number ?? 0)" : String(number ?? 0) }
        return "\(parts.year ?? 0)-\(two(parts.month))-\(two(parts.day)) "
            + "\(two(parts.hour)):\(two(parts.minute)):\(two(parts.second))"
    }
}
