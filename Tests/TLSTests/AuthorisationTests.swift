import TLS
import Testing

@Suite("Who may come in")
struct AuthorisationTests {
    @Test("the first rule that is for somebody decides, and the policy for the others")
    func order() {
        let rules = Authorisation(
            [
                .init("CN=bad,O=Test", isAllowed: false), .init("CN=*,O=Test", isPattern: true, isAllowed: true),
                .init("CN=bad,O=Test", isAllowed: true),
            ], allowsOthers: false)
        #expect(!rules.allows("CN=bad,O=Test"))
        #expect(rules.allows("CN=good,O=Test"))
        #expect(!rules.allows("CN=good,O=Other"))
        #expect(Authorisation([], allowsOthers: true).allows("CN=any"))
    }

    @Test(
        "a pattern's star stands for any characters, its question mark for one",
        arguments: [
            ("*", "", true), ("*", "abc", true), ("a*c", "abbc", true), ("a*c", "abcd", false), ("a?c", "abc", true),
            ("a?c", "ac", false), ("", "", true), ("", "a", false), ("*a*b", "xaxxb", true), ("*a*b", "xaxxbc", false),
            ("a**b", "ab", true), ("[a]", "a", false),
        ])
    func patterns(pattern: String, name: String, isMatch: Bool) {
        let rules = Authorisation([.init(pattern, isPattern: true, isAllowed: true)], allowsOthers: false)
        #expect(rules.allows(name) == isMatch)
    }

    @Test("no name and no pattern take long")
    func stars() {
        let pattern = String(repeating: "*a", count: 200) + "b"
        let rules = Authorisation([.init(pattern, isPattern: true, isAllowed: true)], allowsOthers: false)
        #expect(!rules.allows(String(repeating: "a", count: 4000)))
    }
}
