import Block
import CProgram
import Commands
import Glibc
import HostIO
import HostStorage
import JSON

/// `nacre qmp SOCKET [COMMAND …]`: one QMP command, or a shell.
enum QMPCommand: ProgramCommand {
    static let syntax = CommandSyntax(
        "qmp", "Sends one QMP command, or opens a shell.",
        details: [
            """
            A command is its name with key=value arguments, dots for what lies deeper (file.driver=null-co), or with a \
            JSON object; or a whole request as one JSON object. Without a command a shell opens: Tab completes \
            command and argument names from the server's own schema, Ctrl-D ends it.
            """
        ],
        order: .optionsFirst,
        operands: [
            .init(.file("SOCKET"), "the server's socket: a path, or HOST:PORT"),
            .init("WORD", count: .any, "the command and its arguments"),
        ],
        examples: [
            .init("qmp.sock query-named-block-nodes", "ask what the server has open"),
            .init(
                "qmp.sock blockdev-snapshot-sync node-name=disk snapshot-node-name=disk-1 snapshot-file=disk-1.qcow2",
                "snapshot a disk while it is in use"),
        ])

    static func run(_ words: [String], asQEMU: Bool) -> Never {
        let operands = read(words).operands
        guard let socket = operands.first else { misuse("expecting the server's socket") }
        let command = Array(operands.dropFirst())
        let code: Int32 = OwnThread.run { thread in await Self.talk(to: socket, command, on: thread) }
        exit(code)
    }

    /// A path where it names a file or has a slash, else `HOST:PORT`.
    private static func address(_ text: String) -> SocketAddress {
        guard !text.contains("/"), HostPath.kind(of: text) == nil,
            let colon = text.lastIndex(of: ":"), UInt16(text[text.index(after: colon)...]) != nil
        else { return .unix(path: text) }
        let host = text[..<colon].filter { $0 != "[" && $0 != "]" }
        return .inet(host: host, port: String(text[text.index(after: colon)...]))
    }

    private static func talk(to socket: String, _ words: [String], on thread: IOThread) async -> Int32 {
        let connection: QMPConnection
        do throws(OpenError) {
            connection = QMPConnection(try Socket.connect(to: address(socket), on: thread))
        } catch {
            Program.complain("nacre qmp: \(error.message)\n")
            return 1
        }
        defer { connection.close() }
        do throws(QMPConnection.Failure) {
            try await connection.open(on: thread)
            // A schema only helps; a server without one is served all the same.
            let schema = try await schema(of: connection, neededFor: words)
            if words.isEmpty {
                await QMPShell(connection, schema, on: thread).run()
                return 0
            }
            return try await one(words, connection, schema)
        } catch {
            Program.complain("nacre qmp: \(text(of: error))\n")
            return 1
        }
    }

    /// The schema, where arguments are to be typed or completed.
    private static func schema(of connection: QMPConnection, neededFor words: [String])
        async throws(QMPConnection.Failure) -> QMPSchema?
    {
        guard words.isEmpty || words.count > 1 else { return nil }
        do { return QMPSchema(try await connection.execute("query-qmp-schema", nil)) } catch {
            if case .broken = error { throw error }
            return nil
        }
    }

    private static func one(_ words: [String], _ connection: QMPConnection, _ schema: QMPSchema?)
        async throws(QMPConnection.Failure) -> Int32
    {
        let request: JSONObject
        do { request = try QMPArguments(words, schema: schema).request } catch {
            Program.complain("nacre qmp: \(error.message)\n")
            return 2
        }
        Program.say(text(of: try await connection.send(request)))
        return 0
    }

    /// A result for people: an empty one on one line.
    static func text(of result: JSONValue) -> String {
        result.object?.isEmpty == true ? "{}\n" : result.text(.pretty) + "\n"
    }

    static func text(of failure: QMPConnection.Failure) -> String {
        switch failure {
        case .refused("GenericError", let description): description
        case .refused(let errorClass, let description): "\(errorClass): \(description)"
        case .broken(let reason): reason
        }
    }
}
