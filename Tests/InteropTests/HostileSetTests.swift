import Simulation
import Testing

/// The hostile set as files, under the built program: what it costs to look at an image, to open it with all it stands
/// on, and to check it; and which files are opened for it.
@Suite("The hostile set", .paced, .onlyNacre, .needs("python3"))
struct HostileSetTests {
    private static let info = HostileSet.Command(name: "info", words: ["img", "info"], seconds: 1)
    /// Opens the image and its chain, and maps the first sectors of the disk.
    private static let open = HostileSet.Command(
        name: "open", words: ["img", "map", "--output=json", "-l", "512"], seconds: 1)
    private static let check = HostileSet.Command(name: "check", words: ["img", "check"], seconds: 30)

    @Test(
        "looking at an image and opening it take a second and 64 MiB at most, a check 256 MiB; nothing is written",
        arguments: HostileImage.History.allCases)
    func budget(history: HostileImage.History) async throws {
        // Those that are traced below are judged there.
        let traced = Set(Self.traced(of: history).map(\.name))
        let images = HostileImage.images(of: history).filter { !traced.contains($0.name) }
        guard !images.isEmpty else { return }
        try await Scratch.use { scratch in
            let answers = try await HostileSet(scratch: scratch).run(images) { _ in [Self.info, Self.open, Self.check] }
            #expect(answers.count == images.count * 3)
            for answer in answers { judge(answer) }
            for command in ["info", "open", "check"] {
                let mine = answers.filter { $0.command == command }
                let slowest = mine.max { $0.milliseconds < $1.milliseconds }
                let largest = mine.max { $0.peakKiB < $1.peakKiB }
                let words =
                    "\(history) \(command): \(mine.count) images, at most \(slowest?.milliseconds ?? 0) ms "
                    + "(\(slowest?.image.name ?? "")) and \(largest?.peakKiB ?? 0) KiB (\(largest?.image.name ?? ""))\n"
                print(words, terminator: "")
            }
        }
    }

    /// The images that are run under strace, where there is one: all that name others, and of each other class some, from its
    /// beginning to its end.
    private static func traced(of history: HostileImage.History) -> [HostileImage] {
        guard Tool.path("strace") != nil else { return [] }
        let all = HostileImage.images(of: history)
        let step = history.names ? 1 : max(1, all.count / 10)
        return stride(from: 0, to: all.count, by: step).map { all[$0] }
    }

    private func judge(_ answer: HostileSet.Answer) {
        let about = "\(answer.image), \(answer.command)"
        #expect(answer.status >= 0, "\(about) died of signal \(-answer.status)")
        #expect(answer.status <= 3 || answer.status == 63, "\(about): status \(answer.status)")
        #expect(!answer.hasChanged, "\(about) changed a file")
        let mebibytes = answer.command == "check" ? 256 : 64
        #expect(answer.peakKiB <= mebibytes << 10, "\(about) took \(answer.peakKiB) KiB")
        if answer.command == "open" {
            switch answer.image.expectation {
            case .opens:
                // A chain may end for a backing file's sake, and a walk for a damaged entry's.
                let isRefused = answer.complaint.contains("Could not open") && !answer.complaint.contains("backing")
                #expect(!isRefused, "\(about): \(answer.complaint)")
            case .refused: #expect(answer.status == 1, "\(about) was not refused")
            case .either: break
            }
        }
        if answer.command == "open", answer.image.history == .r14 {
            let word = answer.image.name.contains("a chain") ? "longer than 256" : "stands on itself"
            #expect(answer.complaint.contains(word), "\(about): \(answer.complaint)")
        }
        if answer.status == 1 { #expect(!answer.complaint.isEmpty, "\(about) failed without a word") }
    }

    @Test(
        "R14, R20 to R27: looking at an image opens that file and no other, opening it those that are granted",
        .needs("strace"),
        arguments: HostileImage.History.allCases)
    func opened(history: HostileImage.History) async throws {
        let images = Self.traced(of: history)
        try await Scratch.use { scratch in
            let answers = try await HostileSet(scratch: scratch).run(images) { _ in
                [
                    .init(name: "info", words: Self.info.words, seconds: 1, isTraced: true),
                    .init(name: "open", words: Self.open.words, seconds: 1, isTraced: true),
                    .init(name: "daemon", words: ["daemon"], seconds: 60, isTraced: true, isDaemon: true), Self.check,
                ]
            }
            #expect(answers.count == images.count * 4)
            for answer in answers where answer.command != "daemon" { judge(answer) }
            for answer in answers where answer.command != "check" {
                let image = answer.image.files[0].path
                #expect(answer.opened.contains(image), "\(answer.image), \(answer.command): \(answer.complaint)")
                #expect(answer.status >= 0, "\(answer.image), \(answer.command) died of signal \(-answer.status)")
                let more = answer.opened.subtracting([image]).filter { !isGranted($0, to: answer) }
                #expect(more.isEmpty, "\(answer.image): \(answer.command) opened \(more.sorted()), granted by nobody")
            }
        }
    }

    /// Whether a path besides the image's may be opened.
    private func isGranted(_ path: String, to answer: HostileSet.Answer) -> Bool {
        switch answer.command {
        case "info": return false
        case "open": return answer.image.granted.contains(path)
        default:
            // The daemon was granted the image's folder and all below it.
            let folder = answer.image.files[0].path.split(separator: "/").dropLast().joined(separator: "/")
            return !path.hasPrefix("/") && (folder.isEmpty || path == folder || path.hasPrefix(folder + "/"))
        }
    }
}
