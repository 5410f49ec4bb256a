import Glibc

// lookups FILE [SECONDS]    measures how clusters might be looked up by several threads (docs/decisions/0012-threads.md)
//
// Each reader looks a cluster up at random and reads 4 KiB of it from FILE, which it makes and keeps in the page cache. Every
// page says of which cluster it is, so that a place which was used again too early is seen.

guard CommandLine.arguments.count > 1 else {
    print("usage: lookups FILE [SECONDS]")
    exit(2)
}
let bench = Bench(
    CommandLine.arguments[1], seconds: CommandLine.arguments.count > 2 ? Double(CommandLine.arguments[2]) ?? 1 : 1)

func show(_ name: String, _ outcomes: [Outcome], against base: [Outcome]?) {
    func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
    func rate(_ outcome: Outcome) -> Double { Double(outcome.readers.reduce(0) { $0 + $1.requests }) / bench.seconds }
    let rates = base.map { base in median(zip(outcomes, base).map { rate($0) / rate($1) }) }
    let costs = base.map { base in median(zip(outcomes, base).map { $0.cpuPerRequest / $1.cpuPerRequest }) }
    let wrong = outcomes.reduce(0) { $0 + $1.readers.reduce(0) { $0 + $1.wrong } }
    let moves = median(outcomes.map { Double($0.moves) / bench.seconds })
    func text(_ value: Double, _ digits: Int = 2) -> String {
        let power = (0..<digits).reduce(1.0) { power, _ in power * 10 }
        return "\((value * power).rounded() / power)"
    }
    print(
        "| \(name) | \(text(median(outcomes.map(rate)) / 1000, 0)) k | \(rates.map { text($0) } ?? "1") | "
            + "\(text(median(outcomes.map(\.cpuPerRequest)))) | \(costs.map { text($0) } ?? "1") | \(text(moves, 0)) | \(wrong) |"
    )
}

let rounds = 5
var alone: [Outcome] = []
var others: [(String, () -> Outcome, [Outcome])] = [
    ("asked of the owner, 32 at once", { bench.asked() }, []),
    ("one reader beside the owner, at rest", { bench.shared(readers: 1, pause: nil) }, []),
    ("two readers, the owner at rest", { bench.shared(readers: 2, pause: nil) }, []),
    ("two readers, the owner moves clusters", { bench.shared(readers: 2, pause: 100) }, []),
    ("the same, places used again at once", { bench.shared(readers: 2, pause: 100, waits: false) }, []),
]
for _ in 0..<rounds {
    alone.append(bench.alone())
    for index in others.indices { others[index].2.append(others[index].1()) }
}
print("| lookups | reads/s | ratio | CPU, µs a read | ratio | moves/s | of a wrong cluster |")
print("|---|---|---|---|---|---|---|")
show("one thread alone", alone, against: nil)
for (name, _, outcomes) in others { show(name, outcomes, against: alone) }
