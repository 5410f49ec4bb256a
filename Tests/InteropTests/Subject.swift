import FoundationEssentials

/// The program under test: the built `nacre` beside the test bundle, or the one that NACRE names. With
/// NACRE_UNDER_TEST=qemu the same tests run against QEMU's own tools, which proves the tests.
enum Subject {
    static let isPeer = ProcessInfo.processInfo.environment["NACRE_UNDER_TEST"] == "qemu"

    static let nacre: String = {
        if let named = ProcessInfo.processInfo.environment["NACRE"] { return named }
        let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        let beside = bundle.split(separator: "/").dropLast().joined(separator: "/")
        let candidates = ["/\(beside)/nacre", "\(Tool.package)/.build/debug/nacre"]
        return candidates.first { Tool.path($0) != nil } ?? candidates[1]
    }()

    /// The release build where there is one, for what compares speeds, or looks for a race that the debug build wins.
    static let released: String = {
        let isNamed = ProcessInfo.processInfo.environment["NACRE"] != nil
        return isNamed ? nacre : Tool.path("\(Tool.package)/.build/release/nacre") ?? nacre
    }()

    /// The words that start the storage daemon.
    static var daemon: [String] { isPeer ? ["qemu-storage-daemon"] : [nacre, "daemon"] }

    /// The words that start the image tool.
    static var img: [String] { isPeer ? ["qemu-img"] : [nacre, "img"] }

    /// What lets the daemon open the backing files that images in `directory` name. QEMU's opens all of them anyway.
    static func allowing(_ directory: String) -> [String] { isPeer ? [] : ["--allow-path", directory] }
}
