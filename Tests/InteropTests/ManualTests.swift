import FoundationEssentials
import Testing

@Suite("Manuals and completions", .paced, .onlyNacre)
struct ManualTests {
    private func written(_ scratch: Scratch) async throws {
        try await scratch.ok(Subject.nacre, "manuals", "share")
    }

    @Test("roff finds no fault with a manual page", .needs("groff"))
    func pages() async throws {
        try await Scratch.use { scratch in
            try await written(scratch)
            let pages = try FileManager.default.contentsOfDirectory(atPath: scratch.file("share/man/man1")).sorted()
            #expect(pages.contains("nacre.1") && pages.contains("nacre-img.1") && pages.contains("nacre-serve.1"))
            for page in pages {
                let outcome = try await scratch.run([
                    "groff", "-man", "-Tutf8", "-ww", "-rLL=80n", "share/man/man1/" + page,
                ])
                #expect(outcome.status == 0 && outcome.err.isEmpty, "\(page): \(outcome.err)")
                #expect(outcome.out.contains("DESCRIPTION"), "\(page)")
            }
        }
    }

    @Test("a shell finds no fault with its completions", arguments: ["bash", "zsh", "fish"])
    func syntax(shell: String) async throws {
        guard Tool.path(shell) != nil else { return }
        try await Scratch.use { scratch in
            try await written(scratch)
            let name = [
                "bash": "bash-completion/completions/nacre", "zsh": "zsh/site-functions/_nacre",
                "fish": "fish/vendor_completions.d/nacre.fish",
            ][shell]
            let outcome = try await scratch.run([shell, "-n", "share/" + (name ?? "")])
            #expect(outcome.status == 0 && outcome.err.isEmpty, "\(outcome.err)")
        }
    }

    @Test(
        "bash completes commands, options and their values", .needs("bash"),
        arguments: [
            (["img", "cr"], "create"), (["img", "check", "--rep"], "--repair"),
            (["img", "check", "-r", "le"], "leaks"),
            (["img", "info", "--output", "=", "js"], "json"), (["img", "info", "a-f"], "a-file"), (["se"], "serve"),
        ])
    func bash(words: [String], completion: String) async throws {
        try await Scratch.use { scratch in
            try await written(scratch)
            try await scratch.ok("touch", "a-file")
            let all = ["nacre"] + words
            let script = """
                source share/bash-completion/completions/nacre
                COMP_WORDS=(\(all.joined(separator: " "))) COMP_CWORD=\(all.count - 1)
                _nacre nacre '\(all[all.count - 1])' '\(all[all.count - 2])'
                printf '%s\\n' "${COMPREPLY[@]}"
                """
            #expect(try await scratch.ok("bash", "-c", script) == completion + "\n")
        }
    }
}
