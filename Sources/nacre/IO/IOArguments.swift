import Block
import Commands
import Graph
import Image

/// The command line of `nacre io` and of `qemu-io`, read.
struct IOArguments {
    enum Request: Equatable { case run, help, version }

    private(set) var request = Request.run
    private(set) var commands: [String] = []
    private(set) var objects: [String] = []
    private(set) var warnings: [String] = []
    /// Nil: no image is named.
    private(set) var opening: IOOpening?

    /// What is wrong stands behind the program's name; an empty message stands for the help.
    init(_ words: [String]) throws(UsageMistake) {
        let read: CommandWords
        do throws(OptionScanner.Mistake) { read = try IOProgram.syntax.read(words) } catch {
            throw UsageMistake(error.message)
        }
        for given in read.options where given.option.long == "help" || given.option.long == "version" {
            request = given.option.long == "help" ? .help : .version
            return
        }
        var opening = IOOpening()
        for given in read.options {
            do throws(OpenError) { try take(given, &opening) } catch {
                throw UsageMistake(error.message, sendsToHelp: false)
            }
        }
        guard read.operands.count <= 1 else { throw UsageMistake("") }
        let isOptions = read.has(.imageOpts)
        if isOptions, opening.format != nil {
            throw UsageMistake("--image-opts and -f are mutually exclusive", sendsToHelp: false)
        }
        guard let image = read.operands.first else { return }
        if isOptions {
            opening.options = OptionList(image)
            warnings += OptionList.warnings(image)
        } else {
            opening.filename = image
        }
        self.opening = opening
    }

    private mutating func take(_ given: CommandWords.Given, _ opening: inout IOOpening) throws(OpenError) {
        let value = given.value
        switch given.option.long {
        case IOProgram.command.long: commands.append(value)
        case OptionSyntax.object.long: objects.append(value)
        case IOProgram.trace.long: warnings.append("trace event '\(value)' does not exist")
        case OptionSyntax.format.long: opening.format = value
        case IOProgram.readOnly.long: opening.isReadOnly = true
        case IOProgram.snapshot.long: opening.isSnapshot = true
        case OptionSyntax.forceShare.long: opening.forceShare = true
        case IOProgram.noCache.long: opening.cache = .direct
        case IOProgram.copyOnRead.long: opening.copiesOnRead = true
        case IOProgram.nativeAIO.long: opening.aio = .native
        case OptionSyntax.cache.long: try opening.take("t", value)
        case IOProgram.discard.long: try opening.take("d", value)
        case IOProgram.aio.long: try opening.take("i", value)
        default: break
        }
    }
}
