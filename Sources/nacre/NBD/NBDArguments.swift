import Block
import Commands
import Daemon
import Graph
import HostIO
import Image

/// The command line of `nacre nbd` and of `qemu-nbd`, read.
struct NBDArguments {
    enum Request: Equatable {
        case serve, help, version, list
        /// Detach this device from the kernel's client.
        case disconnect(String)
    }

    private(set) var request = Request.serve
    private(set) var warnings: [String] = []
    private(set) var forks = false
    private(set) var pidFile: String?
    /// The device of the kernel's client.
    private(set) var device: String?
    /// Meaningful where the request is to serve or to list.
    private(set) var service: NBDService
    /// Whose the server's certificate must be that is asked for its exports.
    private(set) var tlsHostname: String?

    private var image = {
        // Unlike qemu-io, qemu-nbd keeps what clients discard until it is told to pass it on.
        var image = IOOpening()
        image.discards = false
        return image
    }()
    private var socket: String?
    private var (host, port): (String?, String?)
    private var isCacheGiven = false

    /// What is wrong with a command line; `isOfWords` says that it could not even be taken apart.
    struct Mistake: Error, Equatable {
        let message: String
        var sendsToHelp = false
        var isOfWords = false
    }

    /// `inherited`: how many sockets this process was started for; nil: it was not.
    init(_ words: [String], inherited: Int? = nil) throws(Mistake) {
        service = NBDService(IOOpening(), on: .inet(host: "0.0.0.0", port: "10809"))
        let read: CommandWords
        do throws(OptionScanner.Mistake) { read = try NBDProgram.syntax.read(words) } catch {
            throw Mistake(message: error.message, sendsToHelp: true, isOfWords: true)
        }
        for given in read.options where given.option.long == "help" || given.option.long == "version" {
            request = given.option.long == "help" ? .help : .version
            return
        }
        do throws(OpenError) {
            for given in read.options { try take(given.option.long, given.value) }
        } catch { throw Mistake(message: error.message) }
        try checkTogether(read, inherited)
        if request == .list { return }
        guard read.operands.count == 1 else { throw Mistake(message: "Invalid number of arguments", sendsToHelp: true) }
        if case .disconnect = request {
            request = .disconnect(read.operands[0])
            return
        }
        if read.has(.imageOpts) {
            image.options = OptionList(read.operands[0])
        } else {
            image.filename = read.operands[0]
        }
        service.image = image
    }

    // MARK: Single options

    private mutating func take(_ name: String, _ value: String) throws(OpenError) {
        switch name {
        case "port": port = value
        case "bind": host = value
        case "socket":
            guard value.hasPrefix("/") else { throw OpenError("socket path must be absolute") }
            socket = value
        case "shared":
            guard let count = Int(value), count >= 0 else { throw OpenError("Invalid shared device number '\(value)'") }
            service.clients = count
        case "persistent": service.isPersistent = true
        case "export-name": service.name = value
        case "description": service.description = value
        case "list": request = .list
        case "offset":
            guard let bytes = UInt64(value), bytes <= UInt64(Int64.max) else {
                throw OpenError("Invalid offset '\(value)'")
            }
            service.offset = bytes
        case "allocation-depth": service.offersDepth = true
        case "bitmap": service.bitmaps.append(value)
        case "object": service.objects.append(value)
        case "trace": warnings.append("trace event '\(value)' does not exist")
        case "fork": forks = true
        case "pid-file": pidFile = value
        case "connect": device = value
        case "disconnect": request = .disconnect("")
        case "tls-creds": service.tlsCredentials = value
        case "tls-authz": service.tlsAuthorisation = value
        case "tls-hostname": tlsHostname = value
        case "selinux-label":
            throw OpenError("Cannot set SELinux socket create context to \(value): sockets are not labelled here")
        default: try takeOpening(name, value)
        }
    }

    private mutating func takeOpening(_ name: String, _ value: String) throws(OpenError) {
        switch name {
        case "format": image.format = value
        case "read-only": image.isReadOnly = true
        case "snapshot": image.isSnapshot = true
        case "load-snapshot":
            image.isReadOnly = true
            image.internalSnapshot = value
        case "nocache", "cache":
            if isCacheGiven { throw OpenError("-n and --cache can only be specified once") }
            isCacheGiven = true
            guard let mode = CacheMode(word: name == "nocache" ? "none" : value) else {
                throw OpenError("Invalid cache mode `\(value)'")
            }
            image.cache = mode
        case "aio":
            do throws(OpenError) { try image.take("i", value) } catch { throw OpenError("Invalid aio mode '\(value)'") }
        case "discard":
            do throws(OpenError) { try image.take("d", value) } catch {
                throw OpenError("Invalid discard mode `\(value)'")
            }
        case "detect-zeroes":
            guard let mode = CommonOptions.DetectZeroes(rawValue: value) else {
                throw OpenError("Failed to parse detect_zeroes mode: invalid parameter value: \(value)")
            }
            image.detectZeroes = mode
        default: break
        }
    }

    // MARK: Options together

    private mutating func checkTogether(_ read: CommandWords, _ inherited: Int?) throws(Mistake) {
        func refuse(_ message: String) throws(Mistake) { throw Mistake(message: message) }
        if read.has(.imageOpts), image.format != nil { try refuse("--image-opts and -f are mutually exclusive") }
        if image.detectZeroes == .unmap, !image.discards {
            try refuse(
                "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
        }
        // By what is asked for clients, of which a list has none.
        let names = Set(read.options.map(\.option.long))
        if request == .list {
            if !read.operands.isEmpty { try refuse("List mode is incompatible with a file name") }
            let ofDevice: Set = ["export-name", "description", "offset", "bitmap", "allocation-depth", "connect"]
            if !names.isDisjoint(with: ofDevice) { try refuse("List mode is incompatible with per-device settings") }
            if forks { try refuse("List mode is incompatible with forking") }
        }
        if service.name.utf8.count > 4096 { try refuse("export name '\(service.name)' too long") }
        if let text = service.description, text.utf8.count > 4096 {
            try refuse("export description '\(text)' too long")
        }
        try checkTLS()
        guard let inherited else {
            if let socket {
                service.address = .unix(path: socket)
            } else {
                service.address = .inet(host: host ?? "0.0.0.0", port: port ?? "10809")
            }
            return
        }
        if device != nil { try refuse("NBD device can't be set when using socket activation") }
        if socket != nil { try refuse("Unix socket can't be set when using socket activation") }
        if host != nil { try refuse("The interface can't be set when using socket activation") }
        if port != nil { try refuse("TCP port number can't be set when using socket activation") }
        if request == .list { try refuse("List mode is incompatible with socket activation") }
        if inherited > 1 { try refuse("qemu-nbd does not support socket activation with LISTEN_FDS > 1") }
        service.address = .descriptor(Self.firstInherited)
    }

    private func checkTLS() throws(Mistake) {
        func refuse(_ message: String) throws(Mistake) { throw Mistake(message: message) }
        guard service.tlsCredentials != nil else {
            if service.tlsAuthorisation != nil { try refuse("--tls-authz is not permitted without --tls-creds") }
            if tlsHostname != nil { try refuse("--tls-hostname is not permitted without --tls-creds") }
            return
        }
        if request == .list {
            if service.tlsAuthorisation != nil { try refuse("TLS authorization is incompatible with export list") }
        } else if tlsHostname != nil {
            try refuse("TLS hostname is only supported with export list")
        }
    }

    /// The first of the sockets that systemd hands over (sd_listen_fds(3)).
    static let firstInherited: Int32 = 3

    /// How many sockets the process was started for, by its environment; nil: it was not.
    static func inherited(_ environment: (String) -> String?, process: Int32) -> Int? {
        guard environment("LISTEN_PID").flatMap({ Int32($0) }) == process,
            let count = environment("LISTEN_FDS").flatMap({ Int($0) }), count > 0
        else { return nil }
        return count
    }
}
