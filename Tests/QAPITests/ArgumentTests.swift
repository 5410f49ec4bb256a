import JSON
import QMPTypes
import Testing

/// What QEMU 7.2.22 answered to the same arguments.
@Suite("The arguments of commands")
struct ArgumentTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let command: String
        let arguments: String
        let message: String

        init(_ command: String, _ arguments: String, _ message: String) {
            self.command = command
            self.arguments = arguments
            self.message = message
        }

        var testDescription: String { "\(command) \(arguments)" }
    }

    static let cases: [Case] = [
        Case("blockdev-add", #"{}"#, "Parameter 'driver' is missing"),
        Case("blockdev-add", #"{"options": {"driver": "null-co"}}"#, "Parameter 'driver' is missing"),
        Case("blockdev-add", #"{"driver": 1}"#, "Invalid parameter type for 'driver', expected: string"),
        Case("blockdev-add", #"{"driver": null}"#, "Invalid parameter type for 'driver', expected: string"),
        Case("blockdev-add", #"{"driver": "nope", "bogus": 1}"#, "Parameter 'driver' does not accept value 'nope'"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "node-name": null}"#,
            "Invalid parameter type for 'node-name', expected: string"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "node-name": 7}"#,
            "Invalid parameter type for 'node-name', expected: string"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "read-only": "on"}"#,
            "Invalid parameter type for 'read-only', expected: boolean"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "read-only": 1}"#,
            "Invalid parameter type for 'read-only', expected: boolean"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "size": "1"}"#,
            "Invalid parameter type for 'size', expected: integer"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "size": 1.5}"#,
            "Invalid parameter type for 'size', expected: integer"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "size": 18446744073709551615}"#,
            "Invalid parameter type for 'size', expected: integer"),
        Case("blockdev-add", #"{"driver": "null-co", "latency-ns": "1"}"#, "Parameter 'latency-ns' expects uint64"),
        Case("blockdev-add", #"{"driver": "null-co", "latency-ns": 1.5}"#, "Parameter 'latency-ns' expects uint64"),
        Case("blockdev-add", #"{"driver": "null-co", "latency-ns": true}"#, "Parameter 'latency-ns' expects uint64"),
        Case("blockdev-add", #"{"driver": "null-co", "bogus": 1}"#, "Parameter 'bogus' is unexpected"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "cache": 1}"#,
            "Invalid parameter type for 'cache', expected: object"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "cache": []}"#,
            "Invalid parameter type for 'cache', expected: object"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "cache": {"direct": 1}}"#,
            "Invalid parameter type for 'cache.direct', expected: boolean"),
        Case("blockdev-add", #"{"driver": "null-co", "cache": {"bogus": 1}}"#, "Parameter 'cache.bogus' is unexpected"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "discard": "x"}"#, "Parameter 'discard' does not accept value 'x'"),
        Case(
            "blockdev-add", #"{"driver": "null-co", "detect-zeroes": {}}"#,
            "Invalid parameter type for 'detect-zeroes', expected: string"),
        Case("blockdev-add", #"{"driver": "raw"}"#, "Parameter 'file' is missing"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": 1}"#, "Invalid parameter type for 'file', expected: BlockdevRef"
        ),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": null}"#,
            "Invalid parameter type for 'file', expected: BlockdevRef"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": []}"#,
            "Invalid parameter type for 'file', expected: BlockdevRef"),
        Case("blockdev-add", #"{"driver": "raw", "file": {}}"#, "Parameter 'file.driver' is missing"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": {"driver": "nope"}}"#,
            "Parameter 'driver' does not accept value 'nope'"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": {"driver": 1}}"#,
            "Invalid parameter type for 'file.driver', expected: string"),
        Case("blockdev-add", #"{"driver": "raw", "file": {"driver": "file"}}"#, "Parameter 'file.filename' is missing"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": {"driver": "file", "filename": 1}}"#,
            "Invalid parameter type for 'file.filename', expected: string"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": {"driver": "file", "filename": "x", "bogus": 1}}"#,
            "Parameter 'file.bogus' is unexpected"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": {"driver": "file", "filename": "x", "aio": "slow"}}"#,
            "Parameter 'aio' does not accept value 'slow'"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": {"driver": "file", "filename": "x", "locking": true}}"#,
            "Invalid parameter type for 'file.locking', expected: string"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": {"driver": "raw", "file": {"driver": "raw"}}}"#,
            "Parameter 'file.file.file' is missing"),
        Case(
            "blockdev-add", #"{"driver": "raw", "file": {"driver": "raw", "file": {"driver": "raw", "file": 1}}}"#,
            "Invalid parameter type for 'file', expected: BlockdevRef"),
        Case(
            "blockdev-add", #"{"driver": "qcow2", "file": "x", "backing": 1}"#,
            "Invalid parameter type for 'backing', expected: BlockdevRefOrNull"),
        Case(
            "blockdev-add", #"{"driver": "qcow2", "file": "x", "backing": {"driver": "nope"}}"#,
            "Parameter 'driver' does not accept value 'nope'"),
        Case(
            "blockdev-add", #"{"driver": "qcow2", "file": "x", "overlap-check": 1}"#,
            "Invalid parameter type for 'overlap-check', expected: Qcow2OverlapChecks"),
        Case(
            "blockdev-add", #"{"driver": "qcow2", "file": "x", "overlap-check": "x"}"#,
            "Parameter 'overlap-check' does not accept value 'x'"),
        Case(
            "blockdev-add", #"{"driver": "qcow2", "file": "x", "overlap-check": {"template": "x"}}"#,
            "Parameter 'template' does not accept value 'x'"),
        Case(
            "blockdev-add", #"{"driver": "qcow2", "file": "x", "overlap-check": {"main-header": "x"}}"#,
            "Invalid parameter type for 'overlap-check.main-header', expected: boolean"),
        Case(
            "blockdev-add", #"{"driver": "qcow2", "file": "x", "overlap-check": {"bogus": "x"}}"#,
            "Parameter 'overlap-check.bogus' is unexpected"),
        Case(
            "blockdev-add", #"{"driver": "qcow2", "file": "x", "cache-size": "1M"}"#,
            "Invalid parameter type for 'cache-size', expected: integer"),
        Case(
            "blockdev-add", #"{"driver": "qcow2", "file": "x", "lazy-refcounts": 0}"#,
            "Invalid parameter type for 'lazy-refcounts', expected: boolean"),
        Case(
            "blockdev-add", #"{"driver": "blkdebug", "image": "x", "inject-error": {}}"#,
            "Invalid parameter type for 'inject-error', expected: array"),
        Case(
            "blockdev-add", #"{"driver": "blkdebug", "image": "x", "inject-error": [1]}"#,
            "Invalid parameter type for 'inject-error[0]', expected: object"),
        Case(
            "blockdev-add", #"{"driver": "blkdebug", "image": "x", "inject-error": [{}]}"#,
            "Parameter 'inject-error[0].event' is missing"),
        Case(
            "blockdev-add",
            #"{"driver": "blkdebug", "image": "x", "inject-error": [{"event": "none"}, {"event": "x"}]}"#,
            "Parameter 'event' does not accept value 'x'"),
        Case(
            "blockdev-add", #"{"driver": "blkdebug", "image": "x", "inject-error": [{"event": "none"}, {"event": 1}]}"#,
            "Invalid parameter type for 'inject-error[1].event', expected: string"),
        Case(
            "blockdev-add",
            #"{"driver": "blkdebug", "image": "x", "inject-error": [{"event": "none"}, {"event": "none", "state": "1"}]}"#,
            "Invalid parameter type for 'inject-error[1].state', expected: integer"),
        Case(
            "blockdev-add",
            #"{"driver": "blkdebug", "image": "x", "inject-error": [{"event": "none"}, {"event": "none", "bogus": "1"}]}"#,
            "Parameter 'inject-error[1].bogus' is unexpected"),
        Case(
            "blockdev-add", #"{"driver": "blkdebug", "image": "x", "set-state": [{"event": "none"}]}"#,
            "Parameter 'set-state[0].new_state' is missing"),
        Case("blockdev-del", #"{}"#, "Parameter 'node-name' is missing"),
        Case("blockdev-del", #"{"node-name": 1}"#, "Invalid parameter type for 'node-name', expected: string"),
        Case("blockdev-del", #"{"node-name": "x", "id": 1}"#, "Parameter 'id' is unexpected"),
        Case("blockdev-reopen", #"{}"#, "Parameter 'options' is missing"),
        Case("blockdev-reopen", #"{"options": {}}"#, "Invalid parameter type for 'options', expected: array"),
        Case("blockdev-reopen", #"{"options": [{}]}"#, "Parameter 'options[0].driver' is missing"),
        Case(
            "blockdev-reopen", #"{"options": [{"driver": "null-co"}, {"driver": "nope"}]}"#,
            "Parameter 'driver' does not accept value 'nope'"),
        Case(
            "blockdev-reopen", #"{"options": [{"driver": "raw", "file": {"driver": "file"}}]}"#,
            "Parameter 'options[0].file.filename' is missing"),
        Case("blockdev-reopen", #"{"options": [1]}"#, "Invalid parameter type for 'options[0]', expected: object"),
        Case(
            "blockdev-reopen", #"{"options": [{"driver": "null-co", "bogus": 1}]}"#,
            "Parameter 'options[0].bogus' is unexpected"),
        Case("blockdev-reopen", #"{"driver": "null-co"}"#, "Parameter 'options' is missing"),
        Case("block_resize", #"{}"#, "Parameter 'size' is missing"),
        Case("block_resize", #"{"size": "1"}"#, "Invalid parameter type for 'size', expected: integer"),
        Case("block_resize", #"{"size": 9223372036854775808}"#, "Invalid parameter type for 'size', expected: integer"),
        Case("blockdev-snapshot", #"{"node": "x"}"#, "Parameter 'overlay' is missing"),
        Case("blockdev-snapshot-sync", #"{"mode": "x"}"#, "Parameter 'snapshot-file' is missing"),
        Case(
            "blockdev-snapshot-sync", #"{"snapshot-file": "x", "mode": "x"}"#,
            "Parameter 'mode' does not accept value 'x'"),
        Case("nbd-server-start", #"{}"#, "Parameter 'addr' is missing"),
        Case("nbd-server-start", #"{"addr": 1}"#, "Invalid parameter type for 'addr', expected: object"),
        Case("nbd-server-start", #"{"addr": {}}"#, "Parameter 'addr.type' is missing"),
        Case("nbd-server-start", #"{"addr": {"type": "inet"}}"#, "Parameter 'addr.data' is missing"),
        Case(
            "nbd-server-start", #"{"addr": {"type": "inet", "data": 1}}"#,
            "Invalid parameter type for 'addr.data', expected: object"),
        Case(
            "nbd-server-start", #"{"addr": {"type": "inet", "data": {"host": "h"}}}"#,
            "Parameter 'addr.data.port' is missing"),
        Case(
            "nbd-server-start", #"{"addr": {"type": "inet", "data": {"host": "h", "port": 1}}}"#,
            "Invalid parameter type for 'addr.data.port', expected: string"),
        Case(
            "nbd-server-start", #"{"addr": {"type": "inet", "data": {"host": "h", "port": "1", "to": 65536}}}"#,
            "Parameter 'to' expects uint16_t"),
        Case(
            "nbd-server-start", #"{"addr": {"type": "inet", "data": {"host": "h", "port": "1", "to": -1}}}"#,
            "Parameter 'to' expects uint16_t"),
        Case(
            "nbd-server-start", #"{"addr": {"type": "nope", "data": 1}}"#,
            "Parameter 'type' does not accept value 'nope'"),
        Case("nbd-server-start", #"{"addr": {"type": "unix", "path": "x"}}"#, "Parameter 'addr.data' is missing"),
        Case(
            "nbd-server-start", #"{"addr": {"type": "unix", "data": {"path": "/x"}}, "max-connections": 4294967296}"#,
            "Parameter 'max-connections' expects uint32_t"),
        Case(
            "nbd-server-start", #"{"addr": {"type": "unix", "data": {"path": "/x"}}, "max-connections": -1.5}"#,
            "Parameter 'max-connections' expects uint64"),
        Case(
            "nbd-server-start", #"{"addr": {"type": "unix", "data": {"path": "/x"}}, "max-connections": -1}"#,
            "Parameter 'max-connections' expects uint32_t"),
        Case("nbd-server-stop", #"{"x": 1}"#, "Parameter 'x' is unexpected"),
        Case("block-export-add", #"{}"#, "Parameter 'type' is missing"),
        Case("block-export-add", #"{"type": "nbd"}"#, "Parameter 'id' is missing"),
        Case("block-export-add", #"{"type": "nbd", "id": "e"}"#, "Parameter 'node-name' is missing"),
        Case("block-export-add", #"{"type": "x"}"#, "Parameter 'type' does not accept value 'x'"),
        Case(
            "block-export-add", #"{"type": "nbd", "id": "e", "node-name": "x", "name": 1}"#,
            "Invalid parameter type for 'name', expected: string"),
        Case(
            "block-export-add", #"{"type": "nbd", "id": "e", "node-name": "x", "bogus": 1}"#,
            "Parameter 'bogus' is unexpected"),
        Case("block-export-del", #"{"id": "x", "mode": "x"}"#, "Parameter 'mode' does not accept value 'x'"),
        Case("query-named-block-nodes", #"{"flat": 1}"#, "Invalid parameter type for 'flat', expected: boolean"),
        Case(
            "query-blockstats", #"{"query-nodes": "x"}"#, "Invalid parameter type for 'query-nodes', expected: boolean"),
        Case("query-version", #"{"x": 1}"#, "Parameter 'x' is unexpected"),
        Case("device_add", "{}", "Parameter 'driver' is missing"),
        Case("blockdev-insert-medium", #"{"id": "x"}"#, "Parameter 'node-name' is missing"),
        Case("blockdev-remove-medium", #"{"device": "x"}"#, "Parameter 'id' is missing"),
        Case("blockdev-change-medium", #"{"id": "x"}"#, "Parameter 'filename' is missing"),
        Case(
            "blockdev-change-medium", #"{"id": "x", "filename": "f", "read-only-mode": "bad"}"#,
            "Parameter 'read-only-mode' does not accept value 'bad'"),
        Case(
            "blockdev-open-tray", #"{"id": "x", "force": 1}"#, "Invalid parameter type for 'force', expected: boolean"),
        Case("block_set_io_throttle", #"{"id": "x"}"#, "Parameter 'bps' is missing"),
        Case("transaction", "{}", "Parameter 'actions' is missing"),
        Case("transaction", #"{"actions": [{"type": "abort"}]}"#, "Parameter 'actions[0].data' is missing"),
        Case(
            "transaction", #"{"actions": [{"type": "nope", "data": {}}]}"#,
            "Parameter 'type' does not accept value 'nope'"),
        Case("add-fd", #"{"fdset-id": "x"}"#, "Invalid parameter type for 'fdset-id', expected: integer"),
        Case("object-add", #"{"qom-type": "nope", "id": "s"}"#, "Parameter 'qom-type' does not accept value 'nope'"),
        Case("human-monitor-command", "{}", "Parameter 'command-line' is missing"),
        Case("quit", #"{"x": 1}"#, "Parameter 'x' is unexpected"),
    ]

    private func answer(_ command: String, _ arguments: String) async throws -> QMPError? {
        let object = try #require(try JSONValue.parse(arguments).object)
        do throws(QMPError) {
            _ = try await RefusingCommands().call(command, object)
            return nil
        } catch {
            return error
        }
    }

    @Test("wrong arguments are refused in QEMU's words, before the command runs", arguments: cases)
    func refusals(_ example: Case) async throws {
        #expect(try await answer(example.command, example.arguments) == QMPError(example.message))
    }

    @Test(
        "what QEMU takes is taken",
        arguments: [
            ("blockdev-add", #"{"driver": "null-co", "size": -1, "latency-ns": -1, "read-zeroes": true}"#),
            ("blockdev-add", #"{"driver": "null-co", "latency-ns": 18446744073709551615}"#),
            ("blockdev-add", #"{"driver": "qcow2", "file": "f", "backing": null, "overlap-check": "all"}"#),
            ("blockdev-add", #"{"driver": "qcow2", "file": {"driver": "file", "filename": "x"}, "backing": ""}"#),
            ("blockdev-add", #"{"driver": "qcow2", "file": "f", "overlap-check": {"template": "none"}}"#),
            ("blockdev-reopen", #"{"options": []}"#), ("block_resize", #"{"size": -9223372036854775808}"#),
            ("nbd-server-start", #"{"addr": {"type": "unix", "data": {"path": "/x"}}, "max-connections": 4294967295}"#),
            ("block-export-add", #"{"id": "e", "node-name": "x", "type": "nbd", "name": "\u0000"}"#),
            ("query-version", "{}"), ("quit", "{}"),
        ])
    func acceptance(_ command: String, _ arguments: String) async throws {
        #expect(try await answer(command, arguments) == RefusingCommands.reached)
    }

    @Test("a command that is not there is not found")
    func unknown() async throws {
        let expected = QMPError("The command nosuch has not been found", class: .commandNotFound)
        #expect(try await answer("nosuch", "{}") == expected)
    }

    @Test("the commands are listed, the last of the schema first")
    func commandNames() async throws {
        let commands = RefusingCommands()
        let answer = try await commands.call("query-commands", JSONObject())
        #expect(answer.array?.compactMap { $0["name"]?.string } == commands.commandNames)
        #expect(Set(commands.commandNames).count == 72)
        #expect(throws: QMPError("Parameter 'x' is unexpected")) {
            try QAPIMembers(QAPIInput(["x": 1])).finish()
        }
    }

    @Test("what was decoded is encoded again as it was")
    func roundTrip() throws {
        let text = """
            {"driver": "qcow2", "node-name": "n", "cache": {"direct": true}, "file": {"driver": "file", \
            "filename": "x", "aio": "io_uring", "locking": "auto"}, "backing": {"driver": "raw", "file": "r", \
            "size": 1048576}, "overlap-check": {"template": "all", "main-header": false}, "cache-size": 7}
            """
        let value = try JSONValue.parse(text)
        #expect(try BlockdevOptions(QAPIInput(value)).json == value)
    }
}
