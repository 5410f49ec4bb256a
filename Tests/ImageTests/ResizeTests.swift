import Block
import BlockTestKit
import Image
import Testing

@Suite("resize")
struct ResizeTests {
    private func resize(
        _ bench: Bench, _ path: String, _ size: String, format: String? = "qcow2", preallocation: Preallocation = .off,
        mayShrink: Bool = false, quiet: Bool = false
    ) throws {
        let request = try ResizeRequest(
            image: ImageReference(path, format: format), size: size, preallocation: preallocation, mayShrink: mayShrink)
        try bench.run { try await $0.resize(request, quiet: quiet) }
    }

    private func map(_ bench: Bench, _ path: String) throws -> String {
        try bench.run {
            try await $0.map(ImageReference(path, format: "qcow2"), form: .json, start: 0, count: nil)
        }
        return bench.said
    }

    private func expectClean(_ bench: Bench, _ path: String) throws {
        let code = try bench.run {
            try await $0.check(ImageReference(path, format: "qcow2"), form: .human, repair: .none, quiet: true)
        }
        #expect(code == 0, "\(bench.reported)")
    }

    @Test("sizes are absolute, more or less, and what cannot be is refused before anything is written")
    func sizes() throws {
        let bench = Bench()
        try bench.create("a", size: "10M")
        let writes = bench.files.writes
        let number = ImageError(
            "Parameter 'size' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means "
                + "kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.")
        for text in ["+", "abc", "+abc", "", "--1"] { #expect(throws: number) { try resize(bench, "a", text) } }
        for text in ["-10M", "0", "-1G"] {
            #expect(throws: ImageError("New image size must be positive")) {
                try resize(bench, "a", text, mayShrink: true)
            }
        }
        #expect(throws: ImageError("Value '100E' is out of range for parameter 'size'")) {
            try resize(bench, "a", "100E")
        }
        #expect(throws: ImageError("The new size must be a multiple of 512")) {
            try resize(bench, "a", "1000", mayShrink: true)
        }
        #expect(throws: ImageError("Failed to grow the L1 table: File too large")) { try resize(bench, "a", "1E") }
        for text in ["9M", "-1M"] {
            do {
                try resize(bench, "a", text)
                Issue.record("\(text) is accepted")
            } catch let error as ImageError {
                #expect(
                    error.message.hasPrefix("Use the --shrink option to perform a shrink operation.\nwarning: Shri"))
            }
        }
        #expect(throws: ImageError("Preallocation can only be used for growing images")) {
            try resize(bench, "a", "5M", preallocation: .full, mayShrink: true)
        }
        #expect(throws: ImageError("Could not open 'none': Could not open 'none': No such file or directory")) {
            try resize(bench, "none", "5M")
        }
        #expect(bench.files.writes == writes)
        try resize(bench, "a", "+2M")
        #expect(bench.said == "Image resized.\n")
        try resize(bench, "a", "-1M", mayShrink: true, quiet: true)
        #expect(bench.said == "")
        #expect(try map(bench, "a").contains("\"length\": 11534336"))
        try expectClean(bench, "a")
    }

    @Test("the format of what is written to is not guessed, but where QEMU's rules hold")
    func guessing() throws {
        let bench = Bench()
        bench.files["r"] = [UInt8](repeating: 0, count: 4096)
        #expect(throws: ImageError.self) { try resize(bench, "r", "8k", format: nil) }
        #expect(bench.files["r"].count == 4096)
        bench.rule = .any
        try resize(bench, "r", "8k", format: nil)
        #expect(bench.files["r"].count == 8192)
        #expect(bench.reported.first?.contains("probing guessed raw") == true)
    }

    @Test("what a disk gains with preallocation has its places, and reads as zeros", arguments: Preallocation.allCases)
    func preallocates(mode: Preallocation) throws {
        for options in ["cluster_size=4096", "cluster_size=4096,compat=0.10", "cluster_size=16k,extended_l2=on"] {
            let bench = Bench()
            try bench.create("a", options: options, size: "1M")
            try bench.write("a", [(0, 4096), (1_000_000, 1000)])
            try resize(bench, "a", "3M", preallocation: mode)
            try expectClean(bench, "a")
            let length = bench.files["a"].count
            #expect(mode == .off ? length < 1 << 20 : length > 2 << 20, "\(options): \(length)")
            if mode == .full { #expect(bench.files.allocated("a") > 2 << 20) }
            #expect(try map(bench, "a").contains("\"length\": "))
            let all = try bench.read("a", count: 3 << 20)
            #expect(all[(1 << 20)...].allSatisfy { $0 == 0 })
            #expect(all[0] == 0x5a && all[1_000_999] == 0x5a && all[1_001_000] == 0)
        }
    }

    @Test(
        "what a longer backing file holds does not come to light, preallocated or not",
        arguments: Preallocation.allCases)
    func backing(mode: Preallocation) throws {
        let bench = Bench()
        try bench.create("base", size: "4M")
        try bench.write("base", [(0, 4 << 20)])
        try bench.create("a", options: "cluster_size=4096", backing: "base", backingFormat: "qcow2", size: "1M")
        try resize(bench, "a", "3M", preallocation: mode)
        let all = try bench.read("a", count: 3 << 20)
        #expect(all[..<(1 << 20)].allSatisfy { $0 == 0x5a } && all[(1 << 20)...].allSatisfy { $0 == 0 })
        try expectClean(bench, "a")
    }

    @Test("a disk that shrinks gives the end of its file back, and whatever was written behind it")
    func tail() throws {
        let bench = Bench()
        try bench.create("a", options: "cluster_size=4096", size: "4M")
        try bench.write("a", [(0, 4096), (1 << 20, 2 << 20)])
        bench.files["a"] += [UInt8](repeating: 9, count: 10_000)
        try resize(bench, "a", "1M", mayShrink: true)
        #expect(bench.files["a"].count < 64 << 10)
        try expectClean(bench, "a")
        #expect(try bench.read("a", count: 4096) == [UInt8](repeating: 0x5a, count: 4096))
        try resize(bench, "a", "4M")
        #expect(try bench.read("a", count: 4 << 20)[4096...].allSatisfy { $0 == 0 })
    }

    @Test("a full disk leaves the old size")
    func fullDisk() throws {
        for mode in [Preallocation.falloc, .full, .metadata] {
            let bench = Bench()
            try bench.create("a", options: "cluster_size=4096", size: "1M")
            bench.files.faults.add(Fault([.write, .zero], nth: 20, forever: true, error: .noSpace))
            do {
                try resize(bench, "a", "64M", preallocation: mode)
                if mode == .full { Issue.record("there was room") }
            } catch let error as ImageError {
                #expect(error.message == "Could not resize image: No space left on device")
                bench.files.faults.clear()
                #expect(try map(bench, "a").contains("\"length\": 1048576"))
                // What was placed by then may have leaked: there was no room to say that it is free.
                let code = try bench.run {
                    try await $0.check(ImageReference("a", format: "qcow2"), form: .human, repair: .none, quiet: true)
                }
                #expect(code == 0 || code == 3, "\(bench.reported)")
            }
        }
    }
}
