import Testing

@testable import Commands

@Suite("What is made from a table")
struct HelpTests {
    private static let below = CommandSyntax(
        "make", "Makes something.", details: ["It costs nothing: but 'quotes' and [brackets]."],
        operands: [.init(.file(), "what is made"), .init("SIZE", count: .optional, "how large")],
        options: [
            OptionSyntax(
                "format", short: "f", value: .oneOf("raw", "qcow2", as: "FMT"), isRequired: true, "its format"),
            OptionSyntax("a-name-that-is-rather-long", value: "VALUE", "what does not fit beside it stands below it"),
            OptionSyntax(
                "rule", group: OptionGroup("Rules"),
                "a text that is so long that it takes two lines where there are eighty columns and no more"),
        ],
        examples: [.init("-f raw a.raw 1M", "make an empty one")], exitCodes: [(0, "it is made"), (3, "it is not")])
    private static let program = CommandSyntax(
        "sample", "Is a program.", examples: [],
        commands: [below, CommandSyntax("hidden", "Hides.", examples: [], isHidden: true)])

    @Test("a help is what one expects to read")
    func help() {
        #expect(
            Self.below.help(as: "sample make") == """
                usage: sample make -f FMT [OPTION…] FILE [SIZE]
                Makes something.

                It costs nothing: but 'quotes' and [brackets].

                  FILE  what is made
                  SIZE  how large

                Options
                  -f, --format FMT  its format
                      --a-name-that-is-rather-long VALUE
                                    what does not fit beside it stands below it

                Rules
                      --rule        a text that is so long that it takes two lines where there
                                    are eighty columns and no more

                General
                  -h, --help        say this

                Exit status
                  0  it is made
                  3  it is not

                Example
                  sample make -f raw a.raw 1M
                      make an empty one

                """)
        let overview = Self.program.help(as: "sample")
        #expect(overview.contains("  make  makes something\n"))
        #expect(!overview.contains("hidden"))
    }

    @Test("a manual page has the sections that man(7) names, and nothing that roff would take for a request")
    func manual() {
        let pages = ManualPage.pages(of: Self.program, version: "1.2")
        #expect(pages.map(\.filename) == ["sample.1", "sample-make.1"])
        let text = pages[1].text
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "RULES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            #expect(text.contains(".SH \(section)\n"), "\(section)")
        }
        #expect(text.contains("\\fB\\-f\\fR, \\fB\\-\\-format\\fR \\fIFMT\\fR\nits format\n"))
        #expect(text.contains("It costs nothing: but \\(aqquotes\\(aq and [brackets]."))
        #expect(pages[0].text.contains(".BR sample\\-make (1)\nMakes something."))
    }

    @Test("completions quote what a shell would read otherwise")
    func completions() {
        let completions = Completions(of: Self.program)
        #expect(completions.bash.contains("'sample:make') place='sample make' ;;"))
        #expect(completions.bash.contains("'sample make:-f'|'sample make:--format')"))
        #expect(completions.fish.contains("-s f -l format -x -a 'raw qcow2' -d 'its format'"))
        #expect(completions.zsh.contains("'*--format=[its format]:FMT:(raw qcow2)'"))
        #expect(!completions.bash.contains("hidden"))
    }
}
