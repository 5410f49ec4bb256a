import Block
import BlockTestKit
public import Qcow2

/// One thing that an amendment changes, or names in vain.
public enum Amendment: Sendable {
    case version(CreateOptions.Version)
    case refcountBits(Int)
    case lazyRefcounts(Bool)
    case dataFileIsRaw(Bool)
    /// The name that an image has for the file with its data; empty takes it out.
    case dataFile(String)
    case size(UInt64)
    /// The backing file and its format, as they are or others. Neither changes anything: that is a rebase.
    case backing(isRight: Bool)

    /// What the tool is told.
    func options(for header: Header) -> AmendOptions {
        var options = AmendOptions()
        switch self {
        case .version(let version): options.version = version
        case .refcountBits(let bits): options.refcountBits = bits
        case .lazyRefcounts(let lazy): options.lazyRefcounts = lazy
        case .dataFileIsRaw(let isRaw): options.dataFileIsRaw = isRaw
        case .dataFile(let name): options.dataFile = name
        case .size(let size): options.size = size
        case .backing(true): (options.backingFile, options.backingFormat) = (header.backingFile, header.backingFormat)
        case .backing(false): (options.backingFile, options.backingFormat) = ("another", "raw")
        }
        return options
    }
}

extension AmendOptions {
    /// What carrying out a step of them counts as.
    func verb(of step: AmendStep) -> Verb {
        switch step {
        case .upgrade, .downgrade: .amendVersion
        case .refcountBits: .amendRefcountBits
        case .lazyRefcounts: .amendLazyRefcounts
        case .dataFile: dataFile == nil ? .amendDataFileIsRaw : .amendDataFile
        case .resize: .amendSize
        }
    }
}
