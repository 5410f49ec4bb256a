import Block
import Bytes
import Logging
import NBDWire

// The session: how it is lost, waited for, made anew and ended.
extension NBDRemote {
    func adopt(_ connection: NBDConnection) {
        connection.onEnd = { [weak self, weak connection] loss in
            guard let self, let connection else { return }
            self.lost(connection, loss)
        }
        connection.start()
    }

    /// The connection for the next request: that with the fewest under way. Waits for a session, as far as the options
    /// say.
    func ready() async throws(BlockError) -> NBDConnection {
        while true {
            switch phase {
            case .ended(let error): throw error
            case .connecting:
                guard options.reconnectDelay > 0, !isPatienceOver, !isGivenUp else { throw .io }
                beginPatience()
                await waiting.wait()
            case .connected:
                guard let idlest = connections.min(by: { $0.underWay < $1.underWay }) else { throw .io }
                if idlest.underWay >= Self.requestsPerConnection { widen() }
                return idlest
            }
        }
    }

    private func beginPatience() {
        guard patience == nil else { return }
        patience = context.schedule(afterMs: UInt64(options.reconnectDelay) * 1000) { [weak self] in
            guard let self else { return }
            patience = nil
            isPatienceOver = true
            waiting.wakeAll()
        }
    }

    private func endPatience() {
        if let patience { context.cancel(patience) }
        patience = nil
    }

    /// A request came to nothing: throws what the server said, or that it is not to be sent again.
    func judge(_ failure: NBDCallFailure, _ attempts: inout Int) throws(BlockError) {
        switch failure {
        case .refused(let error): throw error
        case .lost:
            attempts += 1
            if case .ended(let error) = phase { throw error }
            guard options.reconnectDelay > 0, attempts < Self.attempts else { throw .io }
        }
    }

    // MARK: Losing it

    private func lost(_ connection: NBDConnection, _ loss: NBDLoss) {
        guard case .connected = phase, connections.contains(where: { $0 === connection }) else { return }
        let others = connections.filter { $0 !== connection }
        connections = []
        isWidening = false
        knownData = ByteRange(at: 0, count: 0)
        switch loss {
        case .violation(let text):
            Self.log.error("\(options.server.text): the server breaks the protocol: \(text); it is not spoken to again")
            phase = .ended(.io)
            if unflushed.isAny { flushFailure = .io }
        case .gone(let text):
            Self.log.warning("\(options.server.text): connection lost: \(text)")
            phase = servesAgain ? .connecting : .ended(.io)
            isPatienceOver = false
            // Whether the server still has them, nobody knows.
            if unflushed.isAny, !unflushed.keeps { flushFailure = .io }
            if servesAgain { context.spawnOnOwner { await self.reconnect() } }
        }
        for other in others { other.end(.gone("given up with another")) }
        for one in others + [connection] { context.spawnOnOwner { await one.close() } }
        waiting.wakeAll()
        relieved.wakeAll()
    }

    // MARK: Making it anew

    private var isConnecting: Bool {
        if case .connecting = phase { return true }
        return false
    }

    private func reconnect() async {
        var pauseMs = Self.firstPauseMs
        var told = ""
        while isConnecting {
            do throws(OpenError) {
                let (connection, export) = try await establish()
                try await resume(on: connection, export)
                return
            } catch {
                // Once, as long as it is the same.
                if error.message != told { Self.log.warning("\(options.server.text): \(error.message)") }
                told = error.message
            }
            guard isConnecting else { return }
            let timer = context.schedule(afterMs: pauseMs) { [retry] in retry.wake() }
            await retry.park()
            context.cancel(timer)
            pauseMs = min(2 * pauseMs, Self.longestPauseMs)
        }
    }

    /// Begins a session on a new connection: first of all, what may have been forgotten is written again.
    private func resume(on connection: NBDConnection, _ export: NBDExportInfo) async throws(OpenError) {
        if let misfit = misfit(export, connection) {
            connection.stream.close()
            throw OpenError("the export has changed: \(misfit)", cause: .io)
        }
        connection.start()
        do throws(NBDCallFailure) { try await replay(on: connection) } catch {
            await connection.close()
            guard case .refused(let reason) = error else {
                throw OpenError("the connection was lost again", cause: .io)
            }
            flushFailure = reason
            unflushed.forget()
            throw OpenError("what was not durable could not be written again: \(reason.sentence)", cause: reason)
        }
        guard isConnecting, connection.loss == nil else {
            await connection.close()
            if isConnecting { throw OpenError("the connection was lost again", cause: .io) }
            return
        }
        connections = [connection]
        connection.onEnd = { [weak self, weak connection] loss in
            guard let self, let connection else { return }
            self.lost(connection, loss)
        }
        phase = .connected
        isPatienceOver = false
        endPatience()
        Self.log.info("\(options.server.text): connected again")
        waiting.wakeAll()
    }

    /// What of an export as it came back does not fit what is done with it; nil where all does.
    private func misfit(_ new: NBDExportInfo, _ connection: NBDConnection) -> String? {
        if new.size != export.size { return "it had \(export.size) bytes and has \(new.size)" }
        let needed = export.flags.subtracting([.readOnly, .canMultiConn, .rotational, .sendDF, .sendCache])
        if !new.flags.isSuperset(of: needed) { return "it can do less than before" }
        if new.flags.contains(.readOnly), !isReadOnly { return "it is read-only now" }
        let now = Self.limits(of: new, hasContext: connection.contextID != nil)
        if now.requestAlignment > limits.requestAlignment || now.maxTransfer < limits.maxTransfer {
            return "it takes other block sizes"
        }
        return nil
    }

    private func replay(on connection: NBDConnection) async throws(NBDCallFailure) {
        guard unflushed.keeps else { return }
        for change in unflushed.all {
            switch change.kind {
            case .write:
                let bytes = change.bytes
                try await connection.run(.write, [], change.range, bytes.byteSpan)
            case .zero(let mayUnmap):
                try await connection.run(.writeZeroes, mayUnmap ? [] : .noHole, change.range)
            case .discard:
                try await connection.run(.trim, [], change.range)
            }
        }
    }

    // MARK: More connections

    /// Makes another connection of the session, where the server allows for several.
    private func widen() {
        guard can(.canMultiConn), !isWidening, connections.count < Self.mostConnections else { return }
        guard servesAgain else { return }
        isWidening = true
        let first = connections.first
        context.spawnOnOwner {
            do throws(OpenError) {
                let (connection, export) = try await self.establish()
                guard case .connected = self.phase, self.connections.first === first,
                    export.flags.contains(.canMultiConn), self.misfit(export, connection) == nil,
                    export.flags.contains(.readOnly) == self.isReadOnly
                else { return connection.stream.close() }
                self.adopt(connection)
                self.connections.append(connection)
                self.isWidening = false
            } catch {
                // The session has to do with what it has.
                Self.log.info("\(self.options.server.text): no further connection: \(error.message)")
            }
        }
    }

    // MARK: The end

    /// The end has come: nobody waits for a connection any more, and what is under way not for ever.
    public func giveUp() {
        isGivenUp = true
        waiting.wakeAll()
        for connection in connections { connection.limitSilence(ms: Self.lastSilenceMs) }
    }

    /// Takes leave of the server. No request is under way, and none will come.
    public func close() async {
        let open = connections
        connections = []
        phase = .ended(.closed)
        endPatience()
        retry.wake()
        waiting.wakeAll()
        relieved.wakeAll()
        for connection in open { await connection.close() }
    }
}
