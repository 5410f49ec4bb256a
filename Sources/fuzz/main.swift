import Fuzzing
import Glibc
import Logging

// fuzz TARGET FILE…                 runs the target on each file, and says which broke a promise
// fuzz TARGET [-OPTION…] [FOLDER…]  as made by `make fuzz`: libFuzzer, with its own options and corpus folders

LoggingSystem.bootstrap { _ in SwiftLogNoOpLogHandler() }
guard CommandLine.arguments.count > 1, let target = FuzzTarget.named(CommandLine.arguments[1]) else {
    print("usage: fuzz \(FuzzTarget.all.map(\.name).joined(separator: "|")) FILE…")
    exit(2)
}

#if FUZZER
    Fuzzer.run(target, Array(CommandLine.arguments.dropFirst(2)))
#else
    var hasFailed = false
    for path in CommandLine.arguments.dropFirst(2) {
        do {
            try target.run(try Input.read(path))
            print("\(path): holds")
        } catch {
            hasFailed = true
            print("\(path): \(error)")
        }
    }
    exit(hasFailed ? 1 : 0)
#endif
