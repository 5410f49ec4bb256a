import Foundation
import QAPI
import Testing

@Suite("Documents")
struct DocumentTests {
    static let pages = Checkout.files(suffix: ".md")

    @Test("every link of a page leads to a file of the project, and to a heading that is there")
    func links() throws {
        #expect(Self.pages.contains("README.md"))
        for page in Self.pages {
            for match in try Checkout.text(page).matches(of: /\]\(([^)\s]+)\)/) {
                let link = String(match.1)
                if link.firstMatch(of: /^[a-z+]+:/) != nil { continue }
                #expect(try leadsSomewhere(link, from: page), "\(page) links to \(link)")
            }
        }
    }

    @Test("every page in docs can be reached from the README")
    func pagesAreLinked() throws {
        var reached: Set<String> = []
        var open = ["README.md"]
        while let page = open.popLast() {
            guard reached.insert(page).inserted, Checkout.exists(page) else { continue }
            guard page.hasSuffix(".md") else {
                // A folder shows what is in it.
                open += Self.pages.filter { $0.hasPrefix(page + "/") }
                continue
            }
            for match in try Checkout.text(page).matches(of: /\]\(([^)\s#]+)/) {
                open.append(resolve(String(match.1), from: page))
            }
        }
        for page in Self.pages where page.hasPrefix("docs/") { #expect(reached.contains(page), "\(page)") }
    }

    @Test("every page that a source file points to is there")
    func pagesNamedBySources() throws {
        for path in Checkout.files(suffix: ".swift") {
            for match in try Checkout.text(path).matches(of: /docs\/[A-Za-z0-9\/_.-]+\.md/) {
                #expect(Checkout.exists(String(match.0)), "\(path) points to \(match.0)")
            }
        }
    }

    @Test("docs/qmp-reference.md is what the schema says (make docs)")
    func referenceIsFresh() throws {
        let files = try Checkout.files(in: "Schema", suffix: ".json").map { path in
            (String(path.dropFirst("Schema/".count)), try Checkout.text(path))
        }
        #expect(!files.isEmpty)
        let isFresh = try ManualGenerator(try Schema.read(files)).text == Checkout.text("docs/qmp-reference.md")
        #expect(isFresh)
    }

    private func resolve(_ link: String, from page: String) -> String {
        var parts = page.split(separator: "/").dropLast().map(String.init)
        for part in link.split(separator: "/") {
            switch part {
            case ".": continue
            case "..": _ = parts.popLast()
            default: parts.append(String(part))
            }
        }
        return parts.joined(separator: "/")
    }

    private func leadsSomewhere(_ link: String, from page: String) throws -> Bool {
        let parts = link.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let target = parts[0].isEmpty ? page : resolve(parts[0], from: page)
        guard Checkout.exists(target) else { return false }
        guard parts.count == 2, target.hasSuffix(".md") else { return true }
        return try headings(of: target).contains(parts[1])
    }

    /// The anchors of a page's headings, as Markdown viewers make them.
    private func headings(of page: String) throws -> Set<String> {
        var result: Set<String> = []
        for line in try Checkout.text(page).split(separator: "\n") where line.hasPrefix("#") {
            let title = line.drop { $0 == "#" }.trimmingCharacters(in: .whitespaces).lowercased()
            result.insert(
                String(
                    title.filter { $0.isLetter || $0.isNumber || $0 == " " || $0 == "-" || $0 == "_" }
                        .map { $0 == " " ? "-" : $0 }))
        }
        return result
    }
}
