import Testing

/// Private connections beside QEMU's: certificates, keys, and who is let in. Certificates are made by certtool of GnuTLS.
@Suite("TLS", .paced, .onlyNacre, .needs("qemu-nbd", "qemu-img", "certtool", "nbdinfo"))
struct TLSTests {
    /// Folders `good` (both ends' certificates), `other` (of another authority), `expired`, `alone` (a client without a certificate)
    /// and `nameless` (a server whose certificate has its name as it was done before there were names for hosts), and keys.
    private static let credentials = """
        set -e
        authority() { mkdir -p $1; certtool --generate-privkey --key-type=ecdsa --outfile $1/ca-key.pem
          printf 'cn = Authority\\nca\\ncert_signing_key\\n' > info
          certtool --generate-self-signed --load-privkey $1/ca-key.pem --template info --outfile $1/ca-cert.pem; }
        certificate() { certtool --generate-privkey --key-type=ecdsa --outfile $1/$2-key.pem
          printf "organization = Test\\ncn = $2.test\\ntls_www_$2\\nsigning_key\\n$3" > info
          certtool --generate-certificate --load-ca-certificate $1/ca-cert.pem --load-ca-privkey $1/ca-key.pem \
            --load-privkey $1/$2-key.pem --template info --outfile $1/$2-cert.pem; }
        exec 2>/dev/null
        authority good; certificate good server 'dns_name = server.test\\nip_address = ::1\\n'; certificate good client
        authority other; certificate other server 'dns_name = server.test\\n'; certificate other client
        cp -r good expired; certificate expired server \
          'dns_name = server.test\\nactivation_date = "2020-01-01 00:00:00"\\nexpiration_date = "2020-02-01 00:00:00"\\n'
        cp -r good nameless; certificate nameless server ''
        mkdir alone; cp good/ca-cert.pem alone
        cp -r good revoked; printf 'crl_next_update = 365\\ncrl_number = 1\\n' > info
        certtool --generate-crl --load-ca-privkey good/ca-key.pem --load-ca-certificate good/ca-cert.pem \
          --load-certificate good/client-cert.pem --template info --outfile list.pem
        (yes 'long lists are lists too' | head -n 5000; cat list.pem) > revoked/ca-crl.pem
        mkdir keys wrong; echo qemu:0123456789abcdef0123456789abcdef > keys/keys.psk
        echo qemu:ffffffffffffffffffffffffffffffff > wrong/keys.psk
        qemu-img create -q -f raw disk.raw 1M; ln -s \(Subject.nacre) qemu-nbd; ln -s \(Subject.nacre) qemu-img
        """

    private static func prepare(_ scratch: Scratch) async throws {
        try await scratch.ok("bash", "-c", credentials)
    }

    /// QEMU looks for some files when it needs them, from another folder.
    private static func absolute(_ words: [String], _ scratch: Scratch) -> [String] {
        words.map { $0.replacing("dir=", with: "dir=\(scratch.path)/") }
    }

    /// Starts a server with the objects' words, `t` being the credentials, and waits until it listens.
    private static func serve(_ scratch: Scratch, _ program: String, _ words: [String]) async throws -> Child {
        let child = try scratch.start(
            [program, "-t", "-e", "9", "-f", "raw", "-k", scratch.file("s"), "--tls-creds", "t"]
                + absolute(words, scratch)
                + ["disk.raw"])
        guard try await scratch.appears("s") else { throw Trouble("\(child.command): \(child.err)") }
        return child
    }

    private static func x509(_ end: String, _ folder: String, _ more: String = "") -> [String] {
        ["--object", "tls-creds-x509,id=t,endpoint=\(end),dir=\(folder)\(more)"]
    }
    private static func psk(_ end: String, _ folder: String) -> [String] {
        ["--object", "tls-creds-psk,id=t,endpoint=\(end),dir=\(folder)"]
    }
    private static func anon(_ end: String) -> [String] { ["--object", "tls-creds-anon,id=t,endpoint=\(end)"] }

    struct Case: Sendable {
        let name: String
        let server: [String]
        let client: [String]
        let isAdmitted: Bool
        /// Whether it is the client that refuses, which then says why.
        var isClients = false
    }

    private static let host = ["--tls-hostname", "server.test"]
    private static let creds = ["--tls-creds", "t"]
    static let cases = [
        Case(
            name: "certificates", server: x509("server", "good"), client: x509("client", "good") + creds + host,
            isAdmitted: true),
        Case(name: "in the clear", server: x509("server", "good"), client: [], isAdmitted: false, isClients: true),
        Case(
            name: "another authority's server", server: x509("server", "other"),
            client: x509("client", "good") + creds + host, isAdmitted: false, isClients: true),
        Case(
            name: "another authority's client", server: x509("server", "good"),
            client: x509("client", "other") + creds + host, isAdmitted: false),
        Case(
            name: "an expired server", server: x509("server", "expired", ",sanity-check=off"),
            client: x509("client", "good") + creds + host,
            isAdmitted: false),
        Case(
            name: "a server that is named in the old way", server: x509("server", "nameless"),
            client: x509("client", "good") + creds + host, isAdmitted: true),
        Case(
            name: "another host", server: x509("server", "good"),
            client: x509("client", "good") + creds + ["--tls-hostname", "other.test"], isAdmitted: false,
            isClients: true),
        Case(
            name: "no host to look for", server: x509("server", "good"), client: x509("client", "good") + creds,
            isAdmitted: false, isClients: true),
        Case(
            name: "a client without a certificate", server: x509("server", "good"),
            client: x509("client", "alone") + creds + host, isAdmitted: false),
        Case(
            name: "the same where none is asked for",
            server: ["--object", "tls-creds-x509,id=t,endpoint=server,dir=good,verify-peer=off"],
            client: x509("client", "alone") + creds + host, isAdmitted: true),
        Case(
            name: "who is let in",
            server: x509("server", "good") + ["--tls-authz", "a"] + [
                "--object", "authz-simple,id=a,identity=O=Test,,CN=client.test",
            ],
            client: x509("client", "good") + creds + host, isAdmitted: true),
        Case(
            name: "who is not let in",
            server: x509("server", "good") + ["--tls-authz", "a"] + [
                "--object", "authz-simple,id=a,identity=CN=nobody",
            ],
            client: x509("client", "good") + creds + host, isAdmitted: false),
        Case(
            name: "a client that was revoked", server: x509("server", "revoked"),
            client: x509("client", "good") + creds + host, isAdmitted: false),
        Case(
            name: "a host by its number", server: x509("server", "good"),
            client: x509("client", "good") + creds + ["--tls-hostname", "::1"], isAdmitted: true),
        Case(name: "a key", server: psk("server", "keys"), client: psk("client", "keys") + creds, isAdmitted: true),
        Case(
            name: "a wrong key", server: psk("server", "keys"), client: psk("client", "wrong") + creds,
            isAdmitted: false),
        Case(name: "nobody knows whom", server: anon("server"), client: anon("client") + creds, isAdmitted: true),
        Case(
            name: "a key where certificates are asked for", server: x509("server", "good"),
            client: psk("client", "keys") + creds, isAdmitted: false),
    ]

    @Test("R37, R38: both servers admit the same clients, and both clients trust the same servers", arguments: cases)
    func admits(wanted: Case) async throws {
        try await Scratch.use { scratch in
            try await Self.prepare(scratch)
            let ours = scratch.file("qemu-nbd")
            for server in ["qemu-nbd", ours] {
                let child = try await Self.serve(scratch, server, wanted.server)
                var (said, refused) = ([String](), [String]())
                for client in ["qemu-nbd", ours] {
                    let list = try await scratch.run(
                        [client, "-L", "-k", scratch.file("s")] + Self.absolute(wanted.client, scratch))
                    #expect((list.status == 0) == wanted.isAdmitted, "\(client) at \(server): \(list.out)\(list.err)")
                    #expect(list.out.contains("size:  1048576") == wanted.isAdmitted)
                    said.append(list.out)
                    refused.append(list.err.replacing(client, with: "qemu-nbd"))
                }
                #expect(said[1] == said[0])
                if wanted.isClients { #expect(refused[1] == refused[0]) }
                child.signal(15)
                _ = try await child.wait(seconds: 10)
            }
        }
    }

    @Test("what cannot be read of a folder is not passed over, and who may come in is asked of certificates alone")
    func refusals() async throws {
        try await Scratch.use { scratch in
            try await Self.prepare(scratch)
            // A folder in the place of the list can be opened by nobody as a file.
            try await scratch.ok("bash", "-c", "rm revoked/ca-crl.pem && mkdir revoked/ca-crl.pem")
            let revoked = try await scratch.run(
                [scratch.file("qemu-nbd"), "-k", scratch.file("s"), "--tls-creds", "t", "-f", "raw"]
                    + Self.absolute(Self.x509("server", "revoked"), scratch) + ["disk.raw"])
            #expect(revoked.status == 1 && revoked.err.contains("Unable to access credentials"))
            let keys = try await scratch.run(
                [
                    scratch.file("qemu-nbd"), "-k", scratch.file("s"), "--tls-creds", "t", "--tls-authz", "a", "-f",
                    "raw",
                ]
                    + Self.absolute(Self.psk("server", "keys"), scratch) + ["disk.raw"])
            #expect(keys.status == 1 && keys.err.contains("TLS authorization needs the clients' certificates"))
        }
    }

    @Test("a disk is copied over private connections, both ways")
    func copies() async throws {
        try await Scratch.use { scratch in
            try await Self.prepare(scratch)
            try await scratch.ok("bash", "-c", "head -c 1M /dev/urandom > disk.raw; sha256sum < disk.raw > sum")
            let options =
                "driver=nbd,server.type=unix,server.path=\(scratch.file("s")),tls-creds=t,tls-hostname=server.test"
            for (server, client) in [("qemu-nbd", scratch.file("qemu-img")), (scratch.file("qemu-nbd"), "qemu-img")] {
                let child = try await Self.serve(scratch, server, Self.x509("server", "good"))
                try await scratch.ok(
                    [client, "convert"] + Self.x509("client", "good") + [
                        "--image-opts", "-O", "raw", options, "copy.raw",
                    ])
                try await scratch.ok("bash", "-c", "sha256sum < copy.raw | cmp - sum")
                try await scratch.ok(
                    [client, "convert"] + Self.absolute(Self.x509("client", "good"), scratch)
                        + ["-n", "--target-image-opts", "-f", "raw", "copy.raw", options])
                child.signal(15)
                _ = try await child.wait(seconds: 10)
                try await scratch.ok("bash", "-c", "sha256sum < disk.raw | cmp - sum")
            }
        }
    }

    @Test("libnbd's client is served: what the daemon is told over QMP makes its server private")
    func daemon() async throws {
        try await Scratch.use { scratch in
            try await Self.prepare(scratch)
            let near = try await scratch.daemon(
                words: Subject.daemon + Subject.allowing(scratch.path) + [
                    "--chardev", "socket,id=m,path=\(scratch.file("d.qmp")),server=on,wait=off", "--monitor",
                    "chardev=m", "--blockdev", "driver=file,node-name=f,filename=\(scratch.file("disk.raw"))",
                    "--nbd-server", "addr.type=unix,addr.path=\(scratch.file("d.nbd"))",
                    "--export", "type=nbd,id=e0,node-name=f,name=disk",
                ])
            let monitor = try await near.monitor()
            try await monitor.execute("nbd-server-stop")
            let socket: JSONValue = ["type": "unix", "data": ["path": .string(scratch.file("s"))]]
            for (arguments, text) in [
                (["addr": socket, "tls-creds": "t"] as JSONValue, "No TLS credentials with id 't'"),
                (["addr": socket, "tls-creds": "g"] as JSONValue, "Object with id 'g' is not TLS credentials"),
            ] {
                if text.hasPrefix("Object") {
                    try await monitor.execute("object-add", ["qom-type": "throttle-group", "id": "g"])
                }
                #expect(try await monitor.refusal("nbd-server-start", arguments).text == text)
            }
            try await monitor.execute(
                "object-add",
                ["qom-type": "tls-creds-x509", "id": "t", "endpoint": "server", "dir": .string(scratch.file("good"))])
            try await monitor.execute("nbd-server-start", ["addr": socket, "tls-creds": "t"])
            try await monitor.execute("block-export-add", ["type": "nbd", "id": "e", "node-name": "f", "name": ""])
            let inUse = try await monitor.refusal("object-del", ["id": "t"])
            #expect(inUse.text == "object 't' is in use, can not be deleted")
            let name =
                "nbds+unix:///?socket=\(scratch.file("s"))&tls-certificates=\(scratch.file("good"))&tls-verify-peer=false"
            let told = try await scratch.ok("nbdinfo", name)
            #expect(told.contains("newstyle-fixed with TLS") && told.contains("export-size: 1048576"))
            #expect(try await scratch.run(["nbdinfo", "nbd+unix:///?socket=\(scratch.file("s"))"]).status != 0)
            try await monitor.execute("nbd-server-stop")
            try await monitor.execute("object-del", ["id": "t"])
            try await near.stop()
        }
    }

    static let words: [[String]] = [
        psk("client", "keys") + ["-L", "--tls-creds", "absent"],
        ["--object", "tls-creds-psk,id=t,endpoint=client,dir=keys,username=zzz", "-L", "--tls-creds", "t"],
        psk("client", "good") + ["-L", "--tls-creds", "t"],
        ["--object", "tls-creds-psk,id=t", "-L", "--tls-creds", "t"],
        x509("client", "keys") + ["-L", "--tls-creds", "t"], x509("server", "good") + ["-L", "--tls-creds", "t"],
        x509("client", "good") + ["--tls-creds", "t", "-f", "raw", "disk.raw"], ["-L", "--tls-authz", "t"],
        ["-L", "--tls-hostname", "t"], ["--tls-authz", "t", "disk.raw"], ["--tls-hostname", "t", "disk.raw"],
        ["--object", "throttle-group,id=t", "-L", "--tls-creds", "t"],
        x509("foo", "good") + ["-L", "--tls-creds", "t"],
        x509("client", "good") + ["-L", "--tls-creds", "t", "--tls-authz", "x"],
        x509("server", "good") + ["--tls-creds", "t", "--tls-hostname", "x", "-f", "raw", "disk.raw"],
        ["--object", "authz-list,id=z,foo=1", "-L"], ["--object", "authz-simple,id=z", "-L"],
    ]

    @Test("what is wrong with the words is said in the same", arguments: words)
    func refused(words: [String]) async throws {
        try await Scratch.use { scratch in
            try await Self.prepare(scratch)
            let theirs = try await scratch.run(["qemu-nbd", "-k", scratch.file("s")] + Self.absolute(words, scratch))
            let ours = try await scratch.run(
                [scratch.file("qemu-nbd"), "-k", scratch.file("s")] + Self.absolute(words, scratch))
            #expect(ours.status == theirs.status)
            #expect(ours.err == theirs.err)
        }
    }
}
