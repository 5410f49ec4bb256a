package import Block
package import Graph
package import HostIO
package import HostStorage

/// The host as the daemon reaches it: files, connections and the wall clock. The program's is the real one; a fuzzed
/// daemon is given one in memory.
package protocol DaemonHost: StorageOpener, ImageCreator {
    func listen(on address: SocketAddress) throws(OpenError) -> any StreamListener
    func connect(to address: SocketAddress) throws(OpenError) -> any ByteStream
    /// Makes a file, or empties the one that is there.
    func makeFile(_ creation: FileCreation, pace: Pace) async throws(OpenError)
    /// The descriptors that clients passed, which files are opened from.
    var descriptorSets: DescriptorSets { get }
    /// What connections are made private with.
    var tls: TLSObjects { get }
    /// Text for whoever reads the program's standard output.
    func say(_ text: String)
    /// Standard input and output as one connection.
    var standardStreams: any ByteStream { get }
    /// How long the thread looks for work before it sleeps, in nanoseconds.
    var pollMaxNs: UInt64 { get set }
    /// A thread to serve some exports on, beside the one that serves everybody.
    func takeThread() throws(OpenError) -> any ServingThread
    func giveBack(_ thread: any ServingThread)
    /// How many descriptors this process may hold.
    var descriptorLimit: Int { get }
    /// Microseconds of UTC since 1970.
    var wallClockUs: UInt64 { get }
}

/// Where connections come from.
package protocol StreamListener: AnyObject {
    func next() async throws(BlockError) -> any ByteStream
    /// Asked where the host has no descriptor left for the next connection: lets one go that can be spared, and says
    /// whether one is going.
    var makeRoom: (() -> Bool)? { get set }
    func close()
}
