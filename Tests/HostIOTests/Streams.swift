import Block
import BlockTestKit
import Bytes
import Glibc
import HostIO

/// Receives until so many bytes are there or the stream ends.
func receive(_ count: Int, from stream: any ByteStream) async throws -> [UInt8] {
    var all: [UInt8] = []
    while all.count < count {
        var buffer = AlignedBuffer(byteCount: count - all.count)
        var room = buffer.mutableBytes
        let got = try await stream.receive(into: &room)
        if got == 0 { break }
        all += buffer.bytes.extracting(0..<got).copied
    }
    return all
}

func send(_ bytes: [UInt8], to stream: any ByteStream) async throws {
    try await stream.send(bytes.rawBytes)
}

/// Two connected unix sockets.
func socketPair() -> (Int32, Int32) {
    var pair: [Int32] = [-1, -1]
    // Proof: room for the two numbers.
    precondition(unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
    return (pair[0], pair[1])
}

/// A pipe's two ends.
func pipePair() -> (reading: Int32, writing: Int32) {
    var pair: [Int32] = [-1, -1]
    // Proof: room for the two numbers.
    precondition(unsafe pipe(&pair) == 0)
    return (pair[0], pair[1])
}

/// A unix socket that is bound to a path and neither listens nor is connected.
func boundSocket(_ path: String) -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    // Proof: the path fits (the caller's is short), and the address lives through the calls.
    let code = unsafe withUnsafeMutablePointer(to: &address) { address in
        unsafe withUnsafeMutableBytes(of: &address.pointee.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
        return unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
    precondition(code == 0)
    return descriptor
}

/// Sends one byte with descriptors beside it, as sendmsg(2) passes them.
func pass(_ descriptors: [Int32], with byte: UInt8, over socket: Int32) -> Bool {
    // The header of the control message: its length with these 16 bytes, SOL_SOCKET, SCM_RIGHTS; then the numbers.
    var control = [UInt64](repeating: 0, count: 2 + (descriptors.count + 1) / 2)
    control[0] = UInt64(16 + 4 * descriptors.count)
    control[1] = 1 | 1 << 32
    for (index, descriptor) in descriptors.enumerated() {
        control[2 + index / 2] |= UInt64(UInt32(bitPattern: descriptor)) << (index % 2 == 0 ? 0 : 32)
    }
    var byte = byte
    let controlLength = control.count * 8
    // Proof: everything the message points to lives through the call.
    return unsafe withUnsafeMutablePointer(to: &byte) { byte in
        unsafe control.withUnsafeMutableBytes { control in
            var part = unsafe iovec(iov_base: byte, iov_len: 1)
            return unsafe withUnsafeMutablePointer(to: &part) { part in
                var message = unsafe msghdr()
                unsafe message.msg_iov = part
                unsafe message.msg_iovlen = 1
                unsafe message.msg_control = control.baseAddress
                unsafe message.msg_controllen = controlLength
                return unsafe sendmsg(socket, &message, 0) == 1
            }
        }
    }
}

/// A short wait of a thread that is none of ours.
func usleepShortly() { usleep(200) }
