import ArgumentParser
import Simulation
import Synchronization

/// The same judgement on what QEMU writes: random programs on the stored images, run by `qemu-io`.
struct Peer: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Judges the crash states of programs that qemu-io runs.",
        discussion: """
            Each state that is found wrong is read by qemu-img too; it counts as confirmed where that reads the same, or \
            nothing. Discards are changes of the disk like writes, which a crash may keep without those before them.
            """)

    @Option(help: "The program to look at.") var qemuIo = "qemu-io"
    @Option(help: "Run so many programs.") var programs = 200
    @OptionGroup var stored: StoredImages
    @Option(help: "Only this one of them.") var image: String?
    @Option(help: "Judge at most so many states of one point.") var statesPerPoint = 32
    @Flag(help: "Do not pass discards on to the image's file.") var noDiscards = false
    @Flag(help: "Print every state that is found wrong, not only the first of each kind.") var all = false
    @OptionGroup var options: CampaignOptions

    func run() throws {
        let starts = try stored.images().filter {
            // What opening the other images writes would count for the first request.
            image == nil ? !["bitmap", "dirty"].contains($0.name) : $0.name == image
        }
        var campaign = Campaign(name: "\(qemuIo)\(noDiscards ? " without discards" : "")", options: options)
        campaign.isAboutAnother = true
        let printed = Printed(all: all)
        try campaign.run(until: { [programs] in $0.programs >= programs }) {
            [qemuIo, statesPerPoint, noDiscards] seed throws(Violation) in
            let start = starts[Int(seed % UInt64(starts.count))]
            var examination = PeerExamination(seed, start, statesPerPoint, printed)
            do { try examination.run(qemuIo, discards: !noDiscards) } catch {
                throw error as? Violation ?? Violation("\(error)")
            }
            return examination.tally
        }
    }
}

/// Which kinds of findings were told.
final class Printed: Sendable {
    private let kinds: Mutex<Set<String>>
    private let all: Bool

    init(all: Bool) {
        kinds = Mutex([])
        self.all = all
    }

    func print(_ kind: String, _ text: String) {
        let isNew = kinds.withLock { $0.insert(kind).inserted }
        if isNew || all { Swift.print(text) }
    }
}
