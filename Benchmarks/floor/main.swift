import Block
import Glibc
import HostIO
import Logging
import NBDServer

// floor SOCKET MEBIBYTES    serves a disk of that size under the name `disk` until it is killed

LoggingSystem.bootstrap { _ in SwiftLogNoOpLogHandler() }
guard CommandLine.arguments.count == 3, let mebibytes = UInt64(CommandLine.arguments[2]), mebibytes > 0,
    mebibytes < 1 << 40
else {
    print("usage: floor SOCKET MEBIBYTES")
    exit(2)
}
let path = CommandLine.arguments[1]
let thread = IOThread()
thread.start()
let problem = thread.block { () async -> String? in
    do {
        // The memory first: whoever finds the socket may begin to count.
        let disk = FlatMemory(length: mebibytes << 20)
        let server = NBDServer(context: thread)
        server.add(NBDExport(id: "disk", name: "disk", storage: disk, isWritable: true))
        let listener = try SocketListener(.unix(path: path), on: thread)
        while true {
            let connection = try await listener.accept()
            thread.spawn { await server.serve(connection) }
        }
    } catch {
        return "\(path): \(error)"
    }
}
print(problem ?? "ended")
exit(1)
