import ArgumentParser

// The options of qemu's tools keep their order and their repetitions, so those two commands read their own words; the
// rest is swift-argument-parser's.
let words = Array(CommandLine.arguments.dropFirst())
switch (Program.name, words.first) {
case ("qemu-storage-daemon", _): DaemonCommand.run(words, asQEMU: true)
case ("qemu-img", _): ImgCommand.run(words, asQEMU: true)
case (_, "daemon"): DaemonCommand.run(Array(words.dropFirst()), asQEMU: false)
case (_, "img"): ImgCommand.run(Array(words.dropFirst()), asQEMU: false)
case (let name, _) where name.hasPrefix("qemu-"):
    Program.fail("\(name) is not among the programs that nacre stands in for", as: name)
default: Nacre.main(words)
}
