// swift-tools-version: 6.2
// Nacre: the rooms of the house, one target each, in the order of docs/architecture.md.
// An import points only to an earlier row; TidyTests holds every target to it.
import PackageDescription

/// What every Swift target is compiled with: warnings are errors, unsafe code is marked where it stands.
let common: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
]

// `make fuzz` names libFuzzer's archive here: the libraries are then built with what it and AddressSanitizer ask for.
let fuzzer = Context.environment["NACRE_FUZZER"]
let instrumented: [SwiftSetting] =
    fuzzer == nil ? [] : [.unsafeFlags(["-sanitize=fuzzer,address", "-assert-config", "Debug"])]
let settings = common + instrumented
/// What whatever links an instrumented library has to add.
let sanitizer: [LinkerSetting] =
    fuzzer == nil
    ? [] : [.unsafeFlags(["-sanitize=address", "-use-ld=lld", "-Xlinker", fuzzer!]), .linkedLibrary("stdc++")]

/// Of a program that carries the Swift libraries with it (`--static-swift-stdlib`, as the Makefile builds it) the many
/// relocations are packed: it starts in half the time, and in less memory.
let packed: [LinkerSetting] = [
    .unsafeFlags(
        ["-use-ld=lld", "-Xlinker", "-z", "-Xlinker", "pack-relative-relocs"],
        .when(platforms: [.linux], configuration: .release))
]

let log = Target.Dependency.product(name: "Logging", package: "swift-log")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

func room(
    _ name: String, _ dependencies: [Target.Dependency] = [], plugins: [Target.PluginUsage] = [],
    linking libraries: [String] = []
) -> Target {
    .target(
        name: name, dependencies: dependencies, swiftSettings: settings,
        linkerSettings: libraries.map { .linkedLibrary($0) } + sanitizer, plugins: plugins)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let package = Package(
    name: "nacre",
    products: [
        .executable(name: "nacre", targets: ["nacre"]),
        .library(name: "NacreQcow2", targets: ["Qcow2", "Block", "Bytes"]),
        .library(name: "NacreNBD", targets: ["NBDWire"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    ],
    targets: [
        // Layer 0: bytes, text and the system, no ideas of disks.
        .target(name: "CLinux", linkerSettings: [.linkedLibrary("uring")]),
        .systemLibrary(name: "CCodecs", path: "Sources/CCodecs"),
        // OpenSSL is loaded where something is hashed.
        .target(name: "CDigests", linkerSettings: [.linkedLibrary("isal")]),
        // So is GnuTLS, where a connection is made private.
        .target(name: "CTLS"),
        // Apart from CLinux, whose _GNU_SOURCE does not go together with Foundation's view of the same headers.
        .target(name: "CProgram"),
        room("Bytes"),
        room("JSON"),
        room("QAPI", ["JSON"]),
        room("Commands"),
        // Layer 1: the roles, the I/O thread, the wire formats.
        room("Block", ["Bytes"]),
        room("HostIO", ["CLinux", "Bytes", "Block", log]),
        room("NBDWire", ["Bytes"]),
        room("QMPTypes", ["JSON"], plugins: ["QAPIPlugin"]),
        // Layer 2: what holds bytes and what maps them.
        room("Codecs", ["CCodecs", "Bytes"]),
        room("TLS", ["CTLS", "Bytes", "Block"]),
        room("Digests", ["CDigests", "Bytes"]),
        room("DirtyMap", ["Bytes", "Block"]),
        room("Streams", ["Bytes", "Block"]),
        room("NBDClient", ["Bytes", "Block", "NBDWire", "Streams", log]),
        room("HostStorage", ["CLinux", "Bytes", "Block", "HostIO", log]),
        room("Qcow2", ["Bytes", "Block", "Codecs", "DirtyMap", log]),
        room("Filters", ["Bytes", "Block"]),
        // Layer 3: nodes and what uses them.
        room("Graph", ["Bytes", "Block", "DirtyMap", "NBDClient", "Filters", "Qcow2", log]),
        room("Devices", ["Bytes", "Block", "Filters", "Graph", log]),
        room("Jobs", ["Bytes", "Block", "Filters"]),
        room("NBDServer", ["Bytes", "Block", "DirtyMap", "NBDWire", "Streams", log]),
        room("SCSI", ["Bytes", "Block", "Devices", log]),
        // Layer 4: the monitor, the image tool and iSCSI, as libraries.
        room("ISCSI", ["Bytes", "Block", "Digests", "Streams", "SCSI", log]),
        room("Monitor", ["Bytes", "JSON", "Block", "QMPTypes", log]),
        room("Image", ["Bytes", "JSON", "Block", "Digests", "DirtyMap", "Qcow2", "Filters", "Graph"]),
        // Layer 5: the only place where all parts meet.
        room(
            "Daemon",
            [
                "Bytes", "JSON", "Block", "HostIO", "HostStorage", "QMPTypes", "Qcow2", "Filters", "Graph", "NBDWire",
                "NBDClient", "NBDServer", "Monitor", "Image", "Devices", "Jobs", "SCSI", "ISCSI", "Digests", "TLS",
                "DirtyMap",
                log,
            ]),
        // Layer 6: the program.
        .executableTarget(
            name: "nacre",
            dependencies: [
                "CProgram", "Commands", "Bytes", "JSON", "Block", "HostIO", "HostStorage", "NBDClient", "QMPTypes",
                "Qcow2", "Graph", "Image", "Monitor", "Daemon", log,
            ], swiftSettings: settings, linkerSettings: packed),
        // Tools.
        .executableTarget(name: "qapigen", dependencies: ["QAPI", "JSON"], swiftSettings: common),
        .plugin(name: "QAPIPlugin", capability: .buildTool(), dependencies: ["qapigen"]),
        room("BlockTestKit", ["Bytes", "Block"]),
        room(
            "Simulation",
            ["Bytes", "Block", "Codecs", "DirtyMap", "Qcow2", "Filters", "Graph", "Image", "BlockTestKit"]),
        .executableTarget(
            name: "simulate", dependencies: ["Simulation", "BlockTestKit", arguments], swiftSettings: settings),
        room(
            "Fuzzing",
            [
                "Bytes", "JSON", "QAPI", "Block", "HostIO", "HostStorage", "NBDWire", "NBDClient", "QMPTypes", "Codecs",
                "Qcow2", "Graph",
                "NBDServer", "Digests", "Devices", "SCSI", "ISCSI", "Image", "Daemon", "BlockTestKit",
            ]),
        .executableTarget(
            name: "fuzz", dependencies: ["Fuzzing", log],
            swiftSettings: common + (fuzzer == nil ? [] : [.define("FUZZER")])),
        // What the benchmarks hold every server against.
        .executableTarget(
            name: "floor", dependencies: ["HostIO", "NBDServer", "Block", "Bytes", log], path: "Benchmarks/floor",
            swiftSettings: common, linkerSettings: packed),
        // What one image on several threads would cost and gain (docs/decisions/0012-threads.md).
        .executableTarget(name: "lookups", path: "Benchmarks/lookups", swiftSettings: common),
        // Tests.
        tests("BytesTests", ["Bytes"]),
        tests("JSONTests", ["JSON"]),
        tests("QAPITests", ["QAPI", "JSON", "QMPTypes"]),
        tests("CommandsTests", ["Commands"]),
        tests("BlockTests", ["Block", "Bytes", "BlockTestKit"]),
        .target(
            name: "HostTestKit", dependencies: ["HostIO", "Block", "Bytes"], path: "Tests/HostTestKit",
            swiftSettings: settings),
        tests("HostIOTests", ["HostIO", "Block", "Bytes", "BlockTestKit", "HostTestKit"]),
        tests("NBDWireTests", ["NBDWire", "Bytes", "BlockTestKit"]),
        tests("CodecsTests", ["Codecs", "Bytes"]),
        tests("DirtyMapTests", ["DirtyMap", "Block", "Bytes"]),
        tests(
            "HostStorageTests", ["HostStorage", "HostIO", "Block", "Bytes", "BlockTestKit", "HostTestKit"]),
        tests("Qcow2Tests", ["Qcow2", "DirtyMap", "Block", "Bytes", "BlockTestKit"]),
        .target(
            name: "GraphTestKit", dependencies: ["Graph", "Qcow2", "Block", "Bytes", "BlockTestKit"],
            path: "Tests/GraphTestKit", swiftSettings: settings),
        tests(
            "GraphTests", ["Graph", "DirtyMap", "Filters", "Qcow2", "Block", "Bytes", "BlockTestKit", "GraphTestKit"]),
        tests("TLSTests", ["TLS", "Block", "Bytes", "BlockTestKit"]),
        tests("DigestsTests", ["Digests", "Bytes"]),
        tests("NBDServerTests", ["NBDServer", "DirtyMap", "NBDWire", "Streams", "Block", "Bytes", "BlockTestKit"]),
        tests("NBDClientTests", ["NBDClient", "NBDServer", "NBDWire", "Block", "Bytes", "BlockTestKit"]),
        tests(
            "DevicesTests", ["Devices", "Graph", "Filters", "Qcow2", "Block", "Bytes", "BlockTestKit", "GraphTestKit"]),
        tests("JobsTests", ["Jobs", "Block", "BlockTestKit"]),
        tests("SCSITests", ["SCSI", "Devices", "Block", "Bytes", "BlockTestKit"]),
        tests("ISCSITests", ["ISCSI", "SCSI", "Devices", "Digests", "Block", "Bytes", "BlockTestKit"]),
        tests("MonitorTests", ["Monitor", "QMPTypes", "JSON", "Block", "Bytes", "BlockTestKit"]),
        tests("ImageTests", ["Image", "JSON", "Qcow2", "Graph", "Block", "Bytes", "BlockTestKit", "Digests"]),
        tests(
            "DaemonTests",
            [
                "Daemon", "Fuzzing", "BlockTestKit", "Image", "Graph", "Filters", "HostIO", "HostStorage", "Block",
                "Bytes", "JSON",
            ]),
        tests("NacreTests", ["nacre", "Commands", "Daemon", "HostIO", "Graph", "Image", "JSON"]),
        tests(
            "ConformanceTests",
            [
                "BlockTestKit", "HostTestKit", "Block", "Bytes", "Qcow2", "Filters", "Graph", "HostStorage", "HostIO",
            ]),
        tests(
            "SimulationTests",
            [
                "simulate", "Simulation", "BlockTestKit", "Block", "Bytes", "Codecs", "Qcow2", "Filters", "Graph",
                "GraphTestKit",
            ]),
        tests("InteropTests", ["JSON", "Simulation", "BlockTestKit", "Bytes"]),
        tests("FuzzTests", ["Fuzzing", "Daemon", "BlockTestKit", "Bytes"]),
        tests("TidyTests", ["QAPI"]),
    ]
)
