import Block
import Qcow2

extension ImageTool {
    /// What a check may repair.
    public enum Repair: Sendable {
        case none, leaks, all

        var qcow2: Qcow2Check.Repair {
            switch self {
            case .none: .none
            case .leaks: .leaks
            case .all: .all
            }
        }
    }

    /// `check`: compares the image's references with its refcounts, and repairs what `repair` allows. Answers the exit
    /// code. With `doctor` it says first what the damage means to the guest. What a repair writes to must be known, not
    /// guessed: a guest writes what it likes at the start of a raw disk,
    /// a qcow2 header too (R20, R25). As QEMU's program it is guessed all the same.
    public func check(
        _ image: ImageReference, form: Form, repair: Repair, doctor: Bool = false, quiet: Bool
    ) async throws(ImageError) -> Int32 {
        if repair != .none {
            try checkFormatIsSaid(
                image, "A repair does not guess the format of '\(image.text)'", "say -f qcow2 if that is what it is")
        }
        let file: ImageFile
        do { file = try await openFile(image, isWritable: repair != .none) } catch {
            throw ImageError.couldNotOpen(image.text, error)
        }
        var failure: ImageError?
        var code: Int32 = 1
        do throws(ImageError) {
            code = try await check(file, image.text, form, repair, doctor, quiet)
        } catch { failure = error }
        await file.close()
        if let failure { throw failure }
        return code
    }

    private func check(
        _ file: ImageFile, _ path: String, _ form: Form, _ repair: Repair, _ doctor: Bool, _ quiet: Bool
    ) async throws(ImageError) -> Int32 {
        let kind: ImageKind
        do { kind = try await file.readKind() } catch { throw .couldNotOpen(path, error) }
        guard kind == .qcow2 else {
            throw ImageError("This image format does not support checks", exitCode: ImageCheck.unsupportedExitCode)
        }
        var diagnosis: Diagnosis?
        var check = ImageCheck(filename: file.filename(as: kind), format: "qcow2", result: Qcow2Check.Result())
        let listen: (Diagnosis) -> Void = {
            diagnosis = $0
            // Said before anything is touched; as JSON all is said at once.
            if form == .human, !quiet { output($0.text) }
        }
        check.result = try await run(file, path, repair, doctor ? listen : nil)
        check.diagnosis = diagnosis
        if check.hasRepaired {
            if form == .human, !quiet { output(check.repairedText) }
            let fixed = check.result
            check.result = try await run(file, path, .none)
            check.result.leaksFixed = fixed.leaksFixed
            check.result.corruptionsFixed = fixed.corruptionsFixed
        }
        switch form {
        case .human: if !quiet { output(check.text) }
        case .json: output(check.json + "\n")
        }
        return check.exitCode
    }

    private func run(
        _ file: ImageFile, _ path: String, _ repair: Repair, _ diagnosis: ((Diagnosis) -> Void)? = nil
    ) async throws(ImageError) -> Qcow2Check.Result {
        do {
            return try await Qcow2Check.check(
                file.storage, repair: repair.qcow2, diagnosis: diagnosis, report: report)
        } catch {
            // A check that began and failed says so itself; before that, the image could not be opened.
            throw error.message.hasPrefix("Check failed") ? ImageError(error.message) : .couldNotOpen(path, error)
        }
    }
}
