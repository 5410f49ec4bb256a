import Block
import Commands
import Glibc
import HostStorage

/// `nacre manuals FOLDER`: writes the manual pages and the shells' completions, made from the tables of options, as they
/// lie below a prefix's `share`.
enum ManualsCommand: ProgramCommand {
    static let syntax = CommandSyntax(
        "manuals", "Writes the manual pages and the completions of shells.",
        operands: [.init(.folder(), "where to: what lies below share, such as /usr/local/share")],
        examples: [.init("/usr/local/share", "put them where man and the shells look")], isHidden: true)

    static func run(_ words: [String], asQEMU: Bool) -> Never {
        let operands = read(words).operands
        guard operands.count == 1 else { misuse("expecting one folder") }
        do throws(OpenError) { try write(to: operands[0]) } catch { Program.fail(error.message) }
        exit(0)
    }

    private static func write(to folder: String) throws(OpenError) {
        let completions = Completions(of: Nacre.syntax)
        let files =
            ManualPage.pages(of: Nacre.syntax, version: Program.version).map { ("man/man1/\($0.filename)", $0.text) }
            + [
                ("bash-completion/completions/nacre", completions.bash),
                ("zsh/site-functions/_nacre", completions.zsh),
                ("fish/vendor_completions.d/nacre.fish", completions.fish),
            ]
        for (name, text) in files {
            let file = "\(folder)/\(name)"
            try HostFolder.makeWithParents(HostPath.folder(of: file))
            try HostText.write(text, asFile: file)
        }
    }
}
