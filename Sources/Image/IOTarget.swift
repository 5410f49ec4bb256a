public import Block
public import Graph

/// An open image, as the commands of `IOShell` reach it.
public protocol IOTarget: AnyObject {
    /// Lends the image to one command that needs these permissions. Throws where they cannot be had.
    func use(_ permissions: Permissions, _ body: (any Storage) async -> Bool) async throws(OpenError) -> Bool
    /// Lends the saved state of a machine, which the image keeps beside its disk; nil: it keeps none.
    func useVMState(_ permissions: Permissions, _ body: ((any Storage)?) async -> Bool) async throws(OpenError) -> Bool
    /// What requests may go to that outlive their command; nil: there is none, and commands wait for them.
    var lasting: (any Storage)? { get }
    /// What the image says of itself; nil: there is none.
    var details: ImageDetails? { get }
    /// Whether its clusters and the like are known: not of what has no file behind it.
    var tellsLayout: Bool { get }
    /// Gives the disk another length.
    func resize(to length: UInt64, _ preallocation: Preallocation) async throws(OpenError)
    /// Opens the same image in another way.
    func reopen(_ reopening: IOReopening) async throws(OpenError)
    /// Ends its use, once the requests under way have ended.
    func close() async

    // Breakpoints, as `Graph` has them.
    func setBreakpoint(on event: FaultEvent, tag: String, onStop: @escaping (String) -> Void) throws(BlockError)
    func removeBreakpoint(_ tag: String) throws(BlockError) -> Bool
    func resumeBreakpoint(_ tag: String) throws(BlockError) -> Bool
    func waitForBreakpoint(_ tag: String) async throws(BlockError)
    /// Lets all go on that stand still: nobody is left who could resume them.
    func resumeAll()
}

extension IOTarget {
    public var lasting: (any Storage)? { nil }

    public func useVMState(_ permissions: Permissions, _ body: ((any Storage)?) async -> Bool)
        async throws(OpenError) -> Bool
    { await body(nil) }

    public var details: ImageDetails? { nil }
    public var tellsLayout: Bool { true }
    public func close() async {}

    public func resize(to length: UInt64, _ preallocation: Preallocation) async throws(OpenError) {
        guard preallocation == .off else {
            throw OpenError("Unsupported preallocation mode: \(preallocation.rawValue)")
        }
        var failure: BlockError?
        _ = try await use([.consistentRead, .write, .resize]) { storage in
            do throws(BlockError) { try await storage.resize(to: length) } catch { failure = error }
            return failure == nil
        }
        if let failure { throw OpenError("Failed to resize the image: \(failure.sentence)", cause: failure) }
    }

    public func reopen(_ reopening: IOReopening) async throws(OpenError) {
        throw OpenError("The image was not opened here, and cannot be opened in another way", cause: .unsupported)
    }

    public func setBreakpoint(on event: FaultEvent, tag: String, onStop: @escaping (String) -> Void)
        throws(BlockError)
    { throw .unsupported }
    public func removeBreakpoint(_ tag: String) throws(BlockError) -> Bool { throw .unsupported }
    public func resumeBreakpoint(_ tag: String) throws(BlockError) -> Bool { throw .unsupported }
    public func waitForBreakpoint(_ tag: String) async throws(BlockError) { throw .unsupported }
    public func resumeAll() {}
}

/// How an image shall be opened: the options of `open` and of the tool's own command line.
public struct IOOpening: Equatable, Sendable {
    /// Nil: the options say all.
    public var filename: String?
    /// `-o`, or all of it where the file is options (`--image-opts`): the last of equal names counts.
    public var options = OptionList()
    public var format: String?
    public var isReadOnly = false
    /// An internal snapshot in place of the disk as it is: its name or id, or `snapshot.id=ID,snapshot.name=NAME`.
    public var internalSnapshot: String?
    /// On a new image that is thrown away.
    public var isSnapshot = false
    public var forceShare = false
    public var copiesOnRead = false
    public var cache = CacheMode.writeback
    public var aio: FileDriverOptions.AIO?
    public var discards = true
    public var detectZeroes = CommonOptions.DetectZeroes.off

    public init(filename: String? = nil) { self.filename = filename }
}

/// What `reopen` changes; nil: as it is.
public struct IOReopening: Equatable, Sendable {
    public var isReadOnly: Bool?
    public var cache: CacheMode?
    public var options = OptionList()

    public init() {}
}
