import BlockTestKit

extension HostileImage {
    private static func overlay(_ name: String, _ format: String? = "raw", bits: UInt64 = 12) -> SparseBytes {
        HostileCanvas(.init(clusterBits: bits, backing: name, backingFormat: format)).bytes
    }

    private static let base = SparseBytes(length: 1 << 20)

    /// Chains without an end, and longer ones than anybody makes.
    static func chainLoops() -> [HostileImage] {
        let itself = ["disk.qcow2", "./disk.qcow2", "././disk.qcow2", ".//disk.qcow2", "../in/disk.qcow2"]
        var images = itself.map { name in
            HostileImage(.r14, "stands on itself as \(name)", overlay(name, "qcow2"), path: "in/disk.qcow2")
        }
        for length in [2, 3, 255] {
            let others = (1..<length).map { level in
                File("c\(level).qcow2", overlay(level + 1 == length ? "disk.qcow2" : "c\(level + 1).qcow2", "qcow2"))
            }
            images.append(
                HostileImage(
                    .r14, "a loop of \(length)", overlay("c1.qcow2", "qcow2"), beside: others,
                    granted: Set(others.map(\.path))))
        }
        let long = (1...300).map { File("c\($0).qcow2", overlay("c\($0 + 1).qcow2", "qcow2")) }
        images.append(
            HostileImage(
                .r14, "a chain of 301", overlay("c1.qcow2", "qcow2"), beside: long, granted: Set(long.map(\.path))))
        images.append(
            HostileImage(
                .r14, "stands on itself by a link", overlay("link", "qcow2"), links: [("link", "disk.qcow2")],
                granted: ["link"]))
        return images
    }

    /// Raw disks whose guest wrote the magic of a format.
    static func rawWithMagic() -> [HostileImage] {
        let secret = File("outside/secret.raw", base)
        let magics: [(String, [UInt8])] = [
            ("qcow2", HostileCanvas(.init(backing: "../outside/secret.raw", backingFormat: "raw")).bytes.array),
            ("qcow1", [0x51, 0x46, 0x49, 0xFB, 0, 0, 0, 1]), ("qed", Array("QED\0".utf8)),
            ("vmdk", Array("KDMV".utf8)), ("vmdk text", Array("# Disk DescriptorFile\n".utf8)),
            ("vhdx", Array("vhdxfile".utf8)), ("vpc", Array("conectix".utf8)),
            ("luks", Array("LUKS".utf8) + [0xBA, 0xBE]),
            ("parallels", Array("WithoutFreeSpace".utf8)), ("bochs", Array("Bochs Virtual HD Image".utf8)),
            ("cloop", Array("#!/bin/sh\n#V2.0 Format\n".utf8)),
            ("vdi", [UInt8](repeating: 0, count: 64) + [0x7F, 0x10, 0xDA, 0xBE]),
        ]
        return magics.flatMap { (name, magic) -> [HostileImage] in
            var raw = base
            raw.write(magic.rawBytes, at: 0)
            return [
                HostileImage(
                    .r20, "raw with the magic of \(name)", raw, .opens, path: "in/disk.raw", format: "raw",
                    beside: [secret]),
                HostileImage(
                    .r20, "stands on raw with the magic of \(name)", overlay("base.raw"), .opens, path: "in/disk.qcow2",
                    beside: [File("in/base.raw", raw), secret], granted: ["in/base.raw"]),
            ]
        }
    }

    /// Names of files that are nobody's to give.
    static func backingNames() -> [HostileImage] {
        let beside = [File("outside/secret.raw", base), File("in/base.raw", base), File("in/deep/base.raw", base)]
        let outside = [
            "../outside/secret.raw", "./../outside/secret.raw", "deep/../../outside/secret.raw", "/etc/shadow",
            "/proc/self/environ", "/dev/zero", "//etc/shadow", "..", ".", "/", "", "missing.raw",
            "base.raw\u{0}.png", "base.raw/", "base.raw/..", "../in2/../outside/secret.raw",
        ]
        var images = outside.map { name in
            HostileImage(
                .r21, "stands on \(name.debugDescription)", overlay(name), path: "in/disk.qcow2", beside: beside,
                granted: name == "." ? ["in"] : ["in/base.raw"])
        }
        for name in ["base.raw", "deep/base.raw", "./base.raw"] {
            images.append(
                HostileImage(
                    .r21, "stands on \(name), which is granted", overlay(name), .opens, path: "in/disk.qcow2",
                    beside: beside, granted: ["in/base.raw", "in/deep/base.raw"]))
        }
        // The next one in the chain is held to the folder of the one that names it.
        images.append(
            HostileImage(
                .r21, "stands on one that leaves the folder", overlay("next.qcow2", "qcow2"), path: "in/disk.qcow2",
                beside: beside + [File("in/next.qcow2", overlay("../outside/secret.raw"))], granted: ["in/next.qcow2"]))
        return images
    }

    /// Text that another format would read as the name of a file.
    static func descriptors() -> [HostileImage] {
        let secret = File("outside/secret.raw", base)
        let texts = [
            "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"../outside/secret.raw\" 0\n",
            "# Disk DescriptorFile\nversion=1\nparentFileNameHint=\"../outside/secret.raw\"\n",
            "FILE \"../outside/secret.raw\" BINARY\n",
            "json:{\"file.filename\":\"../outside/secret.raw\"}",
        ]
        return texts.enumerated().flatMap { (index, text) -> [HostileImage] in
            var raw = base
            raw.write(Array(text.utf8).rawBytes, at: 0)
            return ["raw", "qcow2"].map { format in
                HostileImage(
                    .r22, "descriptor \(index) as \(format)", raw, format == "raw" ? .opens : .refused("qcow2 format"),
                    path: "in/disk.img", format: format, beside: [secret])
            }
        }
    }

    /// A data file that the image names: opened where a backing file of that name would be.
    static func dataFiles() -> [HostileImage] {
        let beside = [File("outside/secret.raw", base), File("in/data.raw", base)]
        return ["data.raw", "../outside/secret.raw", "/etc/shadow", "", "disk.qcow2", "/dev/zero"].map { name in
            HostileImage(
                .r23, "data file \(name.debugDescription)", HostileCanvas(.init(dataFile: name)).bytes,
                name == "data.raw" ? .either : .refused("data"), path: "in/disk.qcow2", beside: beside,
                granted: name == "data.raw" ? ["in/data.raw"] : [])
        }
    }

    /// Names that a program might take for more than names.
    static func protocolNames() -> [HostileImage] {
        let names = [
            "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"../outside/secret.raw\"}}",
            "json:{\"driver\":\"null-co\"}", "json:", "file:../outside/secret.raw", "file:///etc/shadow",
            "nbd://127.0.0.1:1/x", "nbd+unix:///x?socket=/nowhere", "http://127.0.0.1:1/x", "ssh://127.0.0.1/x",
            "rbd:pool/image", "fat:/etc", "blkdebug::../outside/secret.raw", "host_device:/dev/zero", "vvfat:/", "a:b",
            "fd:0", "/dev/fd/0", "/dev/fdset/1", "raw:base.raw", "%2e%2e/outside/secret.raw", "$(id)", "|id", "~/x",
            "--help", "-",
        ]
        let beside = [File("outside/secret.raw", base), File("in/base.raw", base), File("in/a:b", base)]
        return names.flatMap { name -> [HostileImage] in
            [
                HostileImage(.r24, "backing file \(name)", overlay(name), path: "in/disk.qcow2", beside: beside),
                HostileImage(
                    .r24, "data file \(name)", HostileCanvas(.init(dataFile: name)).bytes, .refused("data"),
                    path: "in/disk.qcow2", beside: beside),
            ]
        }
    }

    /// Backing files whose format nobody states, or that is stated as nonsense.
    static func unstatedFormats() -> [HostileImage] {
        let beside = [File("in/base.raw", overlay("../outside/secret.raw")), File("outside/secret.raw", base)]
        let formats: [String?] = [
            nil, "", "qcow", "vmdk", "RAW", "qcow2 ", "raw\u{0}", "json:{}", "host_device", "luks",
        ]
        return formats.map { format in
            HostileImage(
                .r25, "backing format \(format.map(\.debugDescription) ?? "not stated")", overlay("base.raw", format),
                path: "in/disk.qcow2", beside: beside, granted: format == nil ? [] : ["in/base.raw"])
        } + [
            HostileImage(
                .r25, "a guest's header below, stated as raw", overlay("base.raw"), .opens, path: "in/disk.qcow2",
                beside: beside, granted: ["in/base.raw"])
        ]
    }

    /// Encrypted images: no secret is asked for, none is read.
    static func encryption() -> [HostileImage] {
        var images: [HostileImage] = []
        for method: UInt64 in [1, 2] {
            for value in Edge.values(width: 8, around: [4096]) {
                for field: UInt64 in [0, 8] {
                    var header = [UInt8](repeating: 0, count: 16)
                    header[5] = 0x50
                    for byte: UInt64 in 0..<8 {
                        header[Int(field + byte)] = UInt8(truncatingIfNeeded: value >> UInt64(56 - byte * 8))
                    }
                    var style = HostileCanvas.Style()
                    style.extensions.append((type: 0x0537_BE77, data: header))
                    let image = HostileCanvas.changed(style) {
                        $0.set(method, at: 32, width: 4)
                    }
                    let name = "method \(method), \(field == 0 ? "offset" : "length")=\(Edge.name(value))"
                    images.append(HostileImage(.r26, name, image, .refused("encryption")))
                }
            }
        }
        // What no encryption method asks for: a header of another's that claims a whole terabyte.
        for (name, isDirty) in [("", false), (", dirty", true)] {
            var style = HostileCanvas.Style()
            style.clusterBits = 9
            style.extensions.append((type: 0x0537_BE77, data: [UInt8](repeating: 0, count: 10) + [1, 0, 0, 0, 0, 0]))
            let image = HostileCanvas.changed(style) {
                if isDirty { $0.set(1, at: 72) }
                $0.grow(to: 1 << 40)
            }
            images.append(
                HostileImage(
                    .r26, "method 0, length=2^40\(name)", image, .refused("only expected with LUKS encryption")))
        }
        return images
    }

    /// Links that lead out of the folder, or back.
    static func symbolicLinks() -> [HostileImage] {
        let beside = [File("outside/secret.raw", base), File("in/base.raw", base)]
        let cases: [(String, String, [(path: String, target: String)], Set<String>)] = [
            ("out of the folder", "link", [("in/link", "../outside/secret.raw")], []),
            ("by a folder", "folder/secret.raw", [("in/folder", "../outside")], []),
            ("by two links", "link", [("in/link", "second"), ("in/second", "../outside/secret.raw")], []),
            ("to the root", "root/etc/shadow", [("in/root", "/")], []),
            ("to /proc", "proc", [("in/proc", "/proc/self/environ")], []),
            ("to itself", "link", [("in/link", "link")], []),
            ("to nothing", "link", [("in/link", "nowhere")], []),
            ("to a device", "link", [("in/link", "/dev/zero")], []),
            ("inside the folder", "link", [("in/link", "base.raw")], ["in/link", "in/base.raw"]),
        ]
        return cases.map { name, backing, links, granted in
            HostileImage(
                .r27, "link \(name)", overlay(backing), path: "in/disk.qcow2", beside: beside, links: links,
                granted: granted)
        }
    }
}
