public import Block
import Bytes
import Qcow2

/// The image tool: each command a function that says what it has to say through `output`, in qemu-img's words.
public struct ImageTool {
    public let files: any ImageFiles
    public let context: any IOContext
    public let rule: BackingRule
    /// Takes text for standard output.
    public let output: (String) -> Void
    /// Takes lines for standard error: what a check finds, which backing files are opened.
    public let report: (String) -> Void
    /// Seconds since 1970 as `YYYY-MM-DD hh:mm:ss` of this place.
    public let localTime: (UInt32) -> String

    public init(
        files: any ImageFiles, context: any IOContext, rule: BackingRule, output: @escaping (String) -> Void,
        report: @escaping (String) -> Void, localTime: @escaping (UInt32) -> String
    ) {
        self.files = files
        self.context = context
        self.rule = rule
        self.output = output
        self.report = report
        self.localTime = localTime
    }

    /// How results are said.
    public enum Form: String, Sendable { case human, json }

    // MARK: info

    /// `info`: tells about one image, or about every image of its chain. Writes nothing; without `chain` it opens the
    /// named file and no other.
    public func info(_ path: String, format: String?, form: Form, chain: Bool, forceShare: Bool)
        async throws(ImageError)
    {
        var found: [ImageInfo] = []
        var identities: Set<String> = []
        var next: (path: String, format: String?, folder: String?)? = (path, format, nil)
        while let here = next {
            next = nil
            let info: ImageInfo
            do throws(OpenError) {
                guard found.count < ImageChain.limit else {
                    throw OpenError("The backing chain is longer than \(ImageChain.limit) images")
                }
                let file = try await files.open(here.path, FileUse(forceShare: forceShare, below: here.folder))
                guard identities.insert(file.identity).inserted else {
                    await file.close()
                    throw OpenError("Backing file '\(here.path)' creates an infinite loop.")
                }
                info = try await read(file, here.path, here.format)
                if chain { next = try backing(of: info) }
                if let next { announce("the backing file \(next.path)") }
            } catch {
                throw ImageError.couldNotOpen(here.path, error)
            }
            found.append(info)
        }
        switch form {
        case .human: output(found.map { $0.text(localTime: localTime) }.joined(separator: "\n"))
        case .json: output((chain ? ImageInfo.json(found) : found[0].json) + "\n")
        }
    }

    func read(_ file: ImageFile, _ path: String, _ format: String?) async throws(OpenError) -> ImageInfo {
        do throws(OpenError) {
            let info = try await ImageInfo.read(file, filename: path, format: format)
            await file.close()
            return info
        } catch {
            await file.close()
            throw error
        }
    }

    func backing(of info: ImageInfo) throws(OpenError) -> (path: String, format: String?, folder: String?)? {
        guard let name = info.backingFilename else { return nil }
        return try BackingName.resolve(name, format: info.backingFormat, of: info.filename, rule)
    }

    /// How images are opened with all they stand on.
    var source: ImageChain.Source {
        ImageChain.Source(files: files, context: context, rule: rule, announce: announce)
    }

    /// Says that a file is opened because an image names it; by QEMU's rules nobody is surprised.
    func announce(_ what: String) { if rule == .ownFolder { report("\(what) is opened") } }

    // MARK: map

    /// `map`: tells where each run of the virtual disk lies.
    public func map(
        _ path: String, format: String?, form: Form, start: UInt64, count: UInt64?, forceShare: Bool
    ) async throws(ImageError) {
        let chain = try await ImageChain.open(
            path, format: format,
            ImageChain.Source(files: files, context: context, rule: rule, forceShare: forceShare, announce: announce))
        var failure: ImageError?
        do throws(ImageError) {
            try await map(chain, form, start, count)
        } catch { failure = error }
        await chain.close()
        if let failure { throw failure }
    }

    private func map(_ chain: ImageChain, _ form: Form, _ start: UInt64, _ count: UInt64?) async throws(ImageError) {
        var separator = "["
        if form == .human { output(MapEntry.heading + "\n") }
        try await ImageMap.walk(chain, from: start, count: count) {
            (entry) throws(ImageError) in
            switch form {
            case .json:
                output(separator + entry.json)
                separator = ",\n"
            case .human:
                if entry.isData, !entry.isZero, entry.offset == nil {
                    throw ImageError("File contains external, encrypted or compressed clusters.")
                }
                if let line = entry.text { output(line + "\n") }
            }
        }
        if form == .json { output("]\n") }
    }
}
