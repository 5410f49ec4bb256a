/// A piece of a schema expression before it is understood.
enum SyntaxNode {
    case string(String)
    case bool(Bool)
    case list([SyntaxNode])
    case object(SyntaxObject)
}

/// The members of an object in order, with the line it began on.
struct SyntaxObject {
    var members: [(name: String, value: SyntaxNode)] = []
    let line: Int

    subscript(name: String) -> SyntaxNode? { members.first { $0.name == name }?.value }
}

/// One top-level expression and the documentation block before it.
struct SyntaxExpression {
    let object: SyntaxObject
    let documentation: [String]?
    /// The blocks that stand alone: text between definitions.
    let freeText: [[String]]
}

/// Reads the expressions of one schema file. Nesting is that of a trusted file of the project; it is still bounded.
struct SchemaSyntaxParser {
    private static let maximumDepth = 32
    private let file: String
    private let tokens: [SchemaToken]
    private var position = 0
    private(set) var trailingText: [[String]] = []

    init(text: String, file: String) throws(SchemaError) {
        self.file = file
        tokens = try SchemaLexer.tokens(of: text, file: file)
    }

    mutating func expressions() throws(SchemaError) -> [SyntaxExpression] {
        var expressions: [SyntaxExpression] = []
        var blocks: [[String]] = []
        while true {
            let token = take()
            switch token.kind {
            case .end:
                trailingText = blocks
                return expressions
            case .documentation(let lines): blocks.append(lines)
            case .openBrace:
                let object = try object(line: token.line, depth: 1)
                let own = blocks.last.flatMap { $0.first?.hasPrefix("@") == true ? $0 : nil }
                if own != nil { blocks.removeLast() }
                expressions.append(SyntaxExpression(object: object, documentation: own, freeText: blocks))
                blocks = []
            default: throw failure("an expression starts with '{'", token)
            }
        }
    }

    private mutating func take() -> SchemaToken {
        let token = tokens[position]
        if position < tokens.count - 1 { position += 1 }
        return token
    }

    private func failure(_ message: String, _ token: SchemaToken) -> SchemaError {
        SchemaError(message, file: file, line: token.line)
    }

    private mutating func value(depth: Int) throws(SchemaError) -> SyntaxNode {
        let token = take()
        guard depth < Self.maximumDepth else { throw failure("nested too deeply", token) }
        switch token.kind {
        case .string(let text): return .string(text)
        case .bool(let flag): return .bool(flag)
        case .openBrace: return .object(try object(line: token.line, depth: depth + 1))
        case .openBracket: return .list(try list(depth: depth + 1))
        default: throw failure("expected a string, a boolean, '{' or '['", token)
        }
    }

    private mutating func object(line: Int, depth: Int) throws(SchemaError) -> SyntaxObject {
        var object = SyntaxObject(line: line)
        if tokens[position].kind == .closeBrace {
            _ = take()
            return object
        }
        while true {
            let key = take()
            guard case .string(let name) = key.kind else { throw failure("expected a name in quotes", key) }
            guard object[name] == nil else { throw failure("duplicate name '\(name)'", key) }
            let colon = take()
            guard colon.kind == .colon else { throw failure("expected ':'", colon) }
            object.members.append((name, try value(depth: depth)))
            let next = take()
            switch next.kind {
            case .closeBrace: return object
            case .comma: continue
            default: throw failure("expected ',' or '}'", next)
            }
        }
    }

    private mutating func list(depth: Int) throws(SchemaError) -> [SyntaxNode] {
        var elements: [SyntaxNode] = []
        if tokens[position].kind == .closeBracket {
            _ = take()
            return elements
        }
        while true {
            elements.append(try value(depth: depth))
            let next = take()
            switch next.kind {
            case .closeBracket: return elements
            case .comma: continue
            default: throw failure("expected ',' or ']'", next)
            }
        }
    }
}
