import Testing

@Suite("block-check", .paced, .needs("qemu-img", "qemu-io", "nbdinfo"))
struct BlockCheckTests {
    /// 16 MiB in clusters of 4 KiB, half of it written, with two clusters behind the end that nothing uses.
    private func leaking(_ scratch: Scratch) async throws -> String {
        let image = scratch.file("disk.qcow2")
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", image, "16M")
        try await scratch.io(["write -q -P 1 0 8M"], image, format: "qcow2")
        var bytes = try ImageBytes(image)
        let end = bytes.bytes.count / 4096
        let table = Int(bytes.number(at: 48, width: 8))
        let block = Int(bytes.number(at: table + end / 2048 * 8, width: 8))
        for cluster in end..<end + 2 { bytes.set(1, at: block + cluster % 2048 * 2, width: 2) }
        bytes.append(2 * 4096)
        try bytes.save()
        return image
    }

    @Test("a check of a disk that is written to meanwhile ends as a job, and tells what it found", .onlyNacre)
    func live() async throws {
        try await Scratch.use { scratch in
            let image = try await leaking(scratch)
            let daemon = try await scratch.daemon(.init(image: image))
            let monitor = try await daemon.monitor()
            let writer = try scratch.start(
                ["qemu-io", "-f", "raw"]
                    + (0..<64).flatMap { ["-c", "aio_write -q -P \(1 + $0) \($0 * 200_000) 64k"] }
                    + ["-c", "aio_flush", daemon.uri()])
            try await monitor.execute(
                "block-check", ["job-id": "c", "node-name": "disk", "auto-dismiss": false])
            let told = try #require(try await monitor.event("BLOCK_CHECK_COMPLETED", seconds: 30))["data"]
            #expect(told?["id"] == "c" && told?["node-name"] == "disk")
            #expect(told?["corruptions"] == 0 && told?["check-errors"] == 0 && told?["leaks"] == 2)
            #expect(told?["total-clusters"] == 4096)
            #expect(told?["messages"]?.items.count == 2)
            #expect(told?["messages"]?.items.first?.string?.hasPrefix("Leaked cluster ") == true)
            _ = try await monitor.event("JOB_STATUS_CHANGE")
            var jobs = try await monitor.execute("query-jobs")
            for _ in 0..<200 where jobs.items.first?["status"] != "concluded" {
                try await Task.sleep(for: .milliseconds(20))
                jobs = try await monitor.execute("query-jobs")
            }
            #expect(jobs.items.count == 1 && jobs.items[0]["type"] == "check" && jobs.items[0]["error"] == nil)
            try await monitor.execute("job-dismiss", ["id": "c"])
            #expect(try await monitor.execute("query-jobs").items.isEmpty)
            #expect(try await writer.wait(seconds: 60).ending == .exited(0))
            monitor.close()
            try await daemon.stop()
            // It was told as it is, and nothing was repaired.
            let check = try await scratch.run(["qemu-img", "check", "--output=json", image])
            #expect(check.status == 3)
            #expect(try JSONValue(parsing: check.out)["leaks"] == 2)
        }
    }

    @Test("a node that is none, is no qcow2 image or is read-only is not checked, and says why", .onlyNacre)
    func refusals() async throws {
        try await Scratch.use { scratch in
            let image = try await leaking(scratch)
            let daemon = try await scratch.daemon(.init(image: image, writable: false))
            let monitor = try await daemon.monitor()
            let refusal = try await monitor.refusal("block-check", ["job-id": "c", "node-name": "nope"])
            #expect(refusal.text == "Cannot find device='' nor node-name='nope'")
            for (node, reason) in [("file0", "is no qcow2 image"), ("disk", "is read-only")] {
                try await monitor.execute(
                    "block-check", ["job-id": .string(node), "node-name": .string(node), "auto-dismiss": false])
                var job = JSONValue.null
                for _ in 0..<500 where job["status"] != "concluded" {
                    try await Task.sleep(for: .milliseconds(20))
                    job = try await monitor.execute("query-jobs").items.first { $0["id"] == .string(node) } ?? .null
                }
                #expect(job["error"]?.string?.contains(reason) == true, "\(job.text)")
            }
            monitor.close()
            try await daemon.stop()
        }
    }
}
