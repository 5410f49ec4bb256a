public import Block
import CLinux

/// A thread beside the program's own, for the tasks of some disks.
public protocol ServingThread: AnyObject, Sendable {
    /// Runs the tasks that it is given, one at a time.
    var taskExecutor: any TaskExecutor { get }
    /// How it looks for work before it sleeps.
    func setPolling(_ polling: PollingOptions)
}

// Threads that share what belongs to one of them, its owner, by taking turns (docs/decisions/0009-io-threads.md). The owner
// is what files, sockets and the graph are made on; what they ask of it is done by the thread on which they ask. What the
// clock sets off is the owner's.
extension IOThread {
    /// The thread that the caller runs on: this one, or one of its peers. From outside it is this one.
    var here: IOThread {
        if peers.isEmpty || isOwn { return self }
        for peer in peers where peer.isOwn { return peer }
        return self
    }

    /// A thread beside this one, started or taken from those that were given back. Called on this thread, in its turn. The
    /// host may have no thread, descriptor or ring left.
    public func takePeer() throws(OpenError) -> any ServingThread {
        precondition(isOwn && number == 0, "peers are the owner's to start")
        if let peer = idlePeers.popLast() { return peer }
        guard peers.count < Self.peerLimit else { throw OpenError("There are \(Self.peerLimit) I/O threads already") }
        let own: any Engine
        do throws(BlockError) { own = try engine.another() } catch { throw Self.failure(error.errno) }
        let wakeUp = nacre_eventfd()
        guard wakeUp >= 0 else { throw Self.failure(nacre_errno()) }
        let peer = IOThread(on: own, WorkerPool(size: pool.size), wakeUp: wakeUp, number: peers.count + 1, turns)
        // From here on this turn holds others up, as those that follow.
        if !holdsTurn {
            turns.begin(alone: true)
            holdsTurn = true
        }
        let code = peer.tryToStart()
        guard code == 0 else { throw Self.failure(code) }
        peers.append(peer)
        return peer
    }

    private static func failure(_ code: Int32) -> OpenError {
        OpenError("Failed to start an I/O thread: \(errnoText(code))")
    }

    /// Each has a ring, and threads for calls that block.
    private static let peerLimit = 64

    /// Gives a thread back that nobody serves on any more. It sleeps, until somebody takes it.
    public func giveBack(_ peer: any ServingThread) {
        guard let peer = peers.first(where: { $0 === peer }) else { return }
        peer.setPolling(PollingOptions())
        idlePeers.append(peer)
    }

    func beginTurn() {
        guard number > 0 || !peers.isEmpty else { return }
        turns.begin(alone: number == 0)
        holdsTurn = true
    }

    func endTurn() {
        guard holdsTurn else { return }
        holdsTurn = false
        turns.end()
    }

    /// Does it in the owner's turn: at once where this is it, else in the next one, in the order of asking.
    public func onOwner(_ body: @escaping () -> Void) {
        if peers.isEmpty || isOwn { return body() }
        // Proof: the owner runs it in a turn of its own, when nobody else runs.
        nonisolated(unsafe) let body = body
        enqueueExternal { _ in unsafe body() }
    }
}

extension IOThread: ServingThread {
    public func setPolling(_ polling: PollingOptions) {
        if isOwn { self.polling.options = polling } else { enqueueExternal { $0.polling.options = polling } }
    }
}
