import Testing

@testable import Commands

@Suite("Reading a command line")
struct OptionScannerTests {
    private static let quiet = OptionSyntax("quiet", short: "q", "say little")
    private static let output = OptionSyntax("output", short: "o", value: "FORM", "how to say it")
    private static let outer = OptionSyntax("outer", "another that begins alike")

    private func read(_ words: [String], _ order: CommandSyntax.Order = .any) throws -> CommandWords {
        try CommandSyntax(
            "sample", "Is a sample.", order: order, options: [Self.quiet, Self.output, Self.outer], examples: []
        ).read(words)
    }

    @Test("options stand before and behind operands, joined to their values or apart, and keep their order")
    func forms() throws {
        let words = try read(["-qoa", "x", "--output=b", "-o", "c", "y", "--quiet"])
        #expect(words.options.map(\.words) == ["-q", "-qoa", "--output=b", "-o c", "--quiet"])
        #expect(words.operands == ["x", "y"])
        #expect(words[Self.output] == "c")
        #expect(words.all(Self.output) == ["a", "b", "c"])
        #expect(words.has(Self.quiet) && !words.has(Self.outer))
        #expect(words.count == 7)
    }

    @Test("the beginning of a long name is enough where one option alone begins so")
    func beginnings() throws {
        #expect(try read(["--q"]).has(Self.quiet))
        #expect(try read(["--outp", "b"])[Self.output] == "b")
        #expect(throws: OptionScanner.Mistake.ambiguous("--out", ["--output", "--outer"])) { try read(["--out"]) }
    }

    @Test("behind -- everything is an operand, and a lone - is one")
    func operands() throws { #expect(try read(["-q", "-", "--", "-o", "--x"]).operands == ["-", "-o", "--x"]) }

    @Test("where options stand first, what is behind an operand belongs to it")
    func optionsFirst() throws {
        let words = try read(["-q", "x", "-o", "--help"], .optionsFirst)
        #expect(words.operands == ["x", "-o", "--help"])
        #expect(!words.has(.help))
    }

    @Test("where the last word is an operand it may look like an option, but for a call for help")
    func lastIsOperand() throws {
        #expect(try read(["x", "-q", "-5G"], .lastIsOperand).operands == ["x", "-5G"])
        #expect(try read(["x", "-q"], .lastIsOperand).operands == ["x", "-q"])
        #expect(try read(["x", "-h"], .lastIsOperand).has(.help))
    }

    @Test(
        "a mistake is told in the C library's words",
        arguments: [
            (["--foo"], "unrecognized option '--foo'"), (["-x"], "invalid option -- 'x'"),
            (["-o"], "option requires an argument -- 'o'"), (["--output"], "option '--output' requires an argument"),
            (["--quiet=1"], "option '--quiet' doesn't allow an argument"),
            (["--ou"], "option '--ou' is ambiguous; possibilities: '--output' '--outer'"),
        ])
    func mistakes(words: [String], message: String) {
        #expect { try read(words) } throws: { ($0 as? OptionScanner.Mistake)?.message == message }
    }
}
