public import Block
import Bytes
public import Graph
import Qcow2

/// The image tool: each command a function that says what it has to say through `output`, in qemu-img's words. Images are
/// opened in a graph of its own, by the drivers that the daemon serves.
public struct ImageTool {
    public let files: any ImageFiles
    public let context: any IOContext
    public let rule: BackingRule
    public let graph: Graph
    /// Takes text for standard output.
    public let output: (String) -> Void
    /// Takes lines for standard error: what a check finds, which backing files are opened.
    public let report: (String) -> Void
    /// Seconds since 1970 as `YYYY-MM-DD hh:mm:ss` of this place.
    public let localTime: (UInt32) -> String
    /// Reads what a user names an image by. By itself this library knows plain file names.
    public var names: Names = { (text, format, _) throws(OpenError) in ImageReference(text, format: format) }
    /// Shows what was put out so far, where that is held back.
    public var showOutput: () -> Void = {}
    let closing = ClosingFailures()

    /// A name, its format where that is said, and whether the name is options (`--image-opts`).
    public typealias Names = (_ text: String, _ format: String?, _ isOptions: Bool) throws(OpenError) -> ImageReference

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
        // By QEMU's rules nobody is surprised by what is opened.
        let announce: (String) -> Void = { what in if rule == .ownFolder { report("\(what) is opened") } }
        graph = Graph(
            context: context,
            Graph.Configuration(
                opener: files, backing: rule.policy, actsAsQEMU: rule == .any,
                observer: GraphObserver(
                    onBackingOpened: { path, _ in announce("the backing file \(path)") },
                    onDataFileOpened: { path, _ in announce("the data file \(path)") },
                    onCloseFailure: { [closing] _, error in closing.failures.append(error) },
                    onWarning: report)))
    }

    /// How results are said.
    public enum Form: String, Sendable { case human, json }

    /// An image as a user names it, to be read.
    func source(_ text: String, _ format: String?, isOptions: Bool, forceShare: Bool, _ cache: CacheMode)
        throws(ImageError) -> ImageReference
    {
        do throws(OpenError) {
            var image = try names(text, format, isOptions)
            image.forceShare = forceShare
            image.cache = cache
            return image
        } catch { throw .couldNotOpen(text, error) }
    }

    // MARK: info

    /// `info`: tells about one image, or about every image of its chain. Writes nothing; without `chain` it opens the
    /// named file and no other.
    public func info(_ image: ImageReference, form: Form, chain: Bool) async throws(ImageError) {
        var found: [ImageInfo] = []
        var identities: Set<HostFileIdentity> = []
        var next: (image: ImageReference, folder: String?)? = (image, nil)
        while let here = next {
            next = nil
            let info: ImageInfo
            do throws(OpenError) {
                guard found.count < ImageChain.limit else {
                    throw OpenError("The backing chain is longer than \(ImageChain.limit) images")
                }
                let file = try await openFile(here.image, below: here.folder)
                if let identity = file.identity, !identities.insert(identity).inserted {
                    await file.close()
                    throw OpenError("Backing file '\(here.image.text)' creates an infinite loop.")
                }
                info = try await read(file)
                if chain { next = try backing(of: info, forceShare: image.forceShare) }
                if let next { announce("the backing file \(next.image.text)") }
            } catch {
                throw ImageError.couldNotOpen(here.image.text, error)
            }
            found.append(info)
        }
        switch form {
        case .human:
            for (number, info) in found.enumerated() {
                if number > 0 { output("\n") }
                output(info.text(localTime: localTime))
            }
        case .json: output((chain ? ImageInfo.json(found) : found[0].json) + "\n")
        }
    }

    func read(_ file: ImageFile) async throws(OpenError) -> ImageInfo {
        do throws(OpenError) {
            let info = try await ImageInfo.read(file)
            await file.close()
            return info
        } catch {
            await file.close()
            throw error
        }
    }

    /// What an image stands on, as it says itself, and the folder that this must not leave.
    func backing(of info: ImageInfo, forceShare: Bool) throws(OpenError) -> (image: ImageReference, folder: String?)? {
        guard let name = info.backingFilename else { return nil }
        let place = try BackingName.resolve(name, format: info.backingFormat, of: info.path ?? "", rule)
        return (ImageReference(place.path, format: place.format, forceShare: forceShare), place.folder)
    }

    /// Says that a file is opened because an image names it; by QEMU's rules nobody is surprised.
    func announce(_ what: String) { if rule == .ownFolder { report("\(what) is opened") } }

    /// What is written to must be known, not guessed: a guest writes what it likes at the start of a raw disk, a qcow2
    /// header too (R20, R25). As QEMU's program it is guessed all the same.
    func checkFormatIsSaid(_ image: ImageReference, _ task: String, _ advice: String) throws(ImageError) {
        guard image.isFormatUnknown, rule == .ownFolder else { return }
        throw ImageError("\(task), since a guest may have written what it looks like: \(advice)")
    }

    // MARK: map

    /// `map`: tells where each run of the virtual disk lies.
    public func map(_ image: ImageReference, form: Form, start: UInt64, count: UInt64?) async throws(ImageError) {
        let chain = try await open(image)
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
