/// What may stand at the end of a line that is being typed: command names, then the arguments' names and values.
struct QMPCompletion {
    let schema: QMPSchema

    /// How the last word may end: whole words, sorted.
    func candidates(for line: String) -> [String] {
        let words = line.split(separator: " ", omittingEmptySubsequences: true).map(String.init)
        let isFresh = line.isEmpty || line.hasSuffix(" ")
        let last = isFresh ? "" : words.last ?? ""
        let before = isFresh ? words : Array(words.dropLast())
        guard let command = before.first else { return schema.commands.filter { $0.hasPrefix(last) } }
        guard let type = schema.argumentType(of: command) else { return [] }
        return arguments(last, type, prefix: "").sorted()
    }

    private func arguments(_ word: String, _ type: String, prefix: String) -> [String] {
        let members = schema.members(of: type)
        let key = String(word.prefix { $0 != "=" })
        if let dot = key.firstIndex(of: "."), let inner = members[String(key[..<dot])] {
            return arguments(
                String(word[word.index(after: dot)...]), inner, prefix: prefix + key[...dot])
        }
        if word.contains("="), let type = members[key] {
            let typed = word.dropFirst(key.count + 1)
            return schema.values(of: type).filter { $0.hasPrefix(typed) }.map { "\(prefix)\(key)=\($0)" }
        }
        return members.filter { $0.key.hasPrefix(word) }.map { name, type in
            prefix + name + (schema.jsonType(of: type) == "object" ? "." : "=")
        }
    }
}
