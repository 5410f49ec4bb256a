/// What shells complete command lines with, made from a program's table.
public struct Completions: Sendable {
    let program: CommandSyntax
    /// Every command with the words that lead to it: `["nacre", "img", "create"]`.
    let places: [(path: [String], command: CommandSyntax)]

    public init(of program: CommandSyntax) {
        self.program = program
        places = Self.places(below: program, [program.name])
    }

    private static func places(below command: CommandSyntax, _ path: [String]) -> [([String], CommandSyntax)] {
        [(path, command)] + command.shownCommands.flatMap { places(below: $0, path + [$0.name]) }
    }

    /// As one word of a shell.
    static func quoted(_ text: String) -> String { "'" + text.replacing("'", with: "'\\''") + "'" }
}

extension Completions {
    // MARK: bash

    /// For `bash-completion/completions/PROGRAM`.
    public var bash: String {
        let steps = places.dropFirst().map { place in
            let above = place.path.dropLast().joined(separator: " ")
            return "            '\(above):\(place.command.name)') place='\(place.path.joined(separator: " "))' ;;\n"
        }
        let values = places.flatMap { place in
            place.command.options.compactMap { option in option.value.map { bashValue(option, $0, place.path) } }
        }
        let words = places.map { place in
            let list = place.command.shownCommands.map(\.name) + place.command.options.map { "--" + $0.long }
            return "        '\(place.path.joined(separator: " "))') words='\(list.joined(separator: " "))' ;;\n"
        }
        return """
            # Completion of \(program.name) for bash, made by "\(program.name) manuals".
            _\(program.name)() {
                local current=$2 before=$3 place='\(program.name)' words= word
                COMPREPLY=()
                # bash takes = for a word of its own.
                if [[ $current == = ]]; then current=; elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi
                for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
                    case $place:$word in
            \(steps.joined())        esac
                done
                case $place:$before in
            \(values.joined())    esac
                case $place in
            \(words.joined())    esac
                mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
                if [[ $current != -* ]]; then mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current"); fi
            }
            complete -o filenames -F _\(program.name) \(program.name)

            """
    }

    private func bashValue(_ option: OptionSyntax, _ value: ValueSyntax, _ path: [String]) -> String {
        let place = path.joined(separator: " ")
        let patterns = option.spellings.map { "'\(place):\($0)'" }.joined(separator: "|")
        let action =
            switch value.kind {
            case .text: "return"
            case .file: "mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return"
            case .folder: "mapfile -t COMPREPLY < <(compgen -d -- \"$current\"); return"
            case .words(let words):
                "mapfile -t COMPREPLY < <(compgen -W '\(words.joined(separator: " "))' -- \"$current\"); return"
            }
        return "        \(patterns)) \(action) ;;\n"
    }

    // MARK: fish

    /// For `fish/vendor_completions.d/PROGRAM.fish`.
    public var fish: String {
        let rows = places.flatMap { place in
            let condition = fishCondition(place.path.dropFirst(), place.command)
            let start = "complete -c \(program.name) -n \(Self.quoted(condition))"
            let commands = place.command.shownCommands.map { below in
                "\(start) -f -a \(Self.quoted(below.name)) -d \(Self.quoted(below.summary))\n"
            }
            return commands + place.command.options.map { start + fishOption($0) + "\n" }
        }
        return "# Completion of \(program.name) for fish, made by \"\(program.name) manuals\".\n" + rows.joined()
    }

    /// Whether the words so far lead to a command, and to none below it.
    private func fishCondition(_ path: ArraySlice<String>, _ command: CommandSyntax) -> String {
        let above = path.map { "__fish_seen_subcommand_from \($0)" }
        let below = command.shownCommands.map(\.name)
        let not = below.isEmpty ? [] : ["not __fish_seen_subcommand_from \(below.joined(separator: " "))"]
        return (above + not).joined(separator: "; and ")
    }

    private func fishOption(_ option: OptionSyntax) -> String {
        let letter = option.short.map { " -s \($0)" } ?? ""
        let value =
            switch option.value?.kind {
            case nil: ""
            case .text: " -x"
            case .file: " -r -F"
            case .folder: " -x -a '(__fish_complete_directories)'"
            case .words(let words): " -x -a \(Self.quoted(words.joined(separator: " ")))"
            }
        return "\(letter) -l \(option.long)\(value) -d \(Self.quoted(option.help))"
    }

    // MARK: zsh

    /// For `zsh/site-functions/_PROGRAM`.
    public var zsh: String {
        let functions = places.map { place in
            place.command.shownCommands.isEmpty
                ? zshLeaf(place.path, place.command) : zshBranch(place.path, place.command)
        }
        return
            "#compdef \(program.name)\n# Completion of \(program.name) for zsh, made by \"\(program.name) manuals\".\n\n"
            + functions.joined(separator: "\n") + "\n_\(program.name) \"$@\"\n"
    }

    private func zshLeaf(_ path: [String], _ command: CommandSyntax) -> String {
        let operands = command.operands.map { operand in
            let colon =
                switch operand.count {
                case .one: ":"
                case .optional: "::"
                case .some, .any: "*:"
                }
            return Self.quoted("\(colon)\(zshText(operand.value.placeholder)):\(zshAction(operand.value))")
        }
        let lines = (command.options.map(zshOption) + operands).map { "        \($0)" }
        return "_\(path.joined(separator: "_"))() {\n    _arguments -s -S \\\n\(lines.joined(separator: " \\\n"))\n}\n"
    }

    private func zshBranch(_ path: [String], _ command: CommandSyntax) -> String {
        let name = "_" + path.joined(separator: "_")
        let list = command.shownCommands.map { "        \(Self.quoted("\($0.name):\(zshText($0.phrase))"))\n" }
        let options = command.options.map { "        \(zshOption($0)) \\\n" }
        return """
            \(name)() {
                local state line
                local -a commands=(
            \(list.joined())    )
                _arguments -C \\
            \(options.joined())        '1: :->command' '*::argument:->argument'
                case $state in
                command) _describe command commands ;;
                argument) (( $+functions[\(name)_$line[1]] )) && \(name)_$line[1] ;;
                esac
            }

            """
    }

    private func zshOption(_ option: OptionSyntax) -> String {
        let text = "[\(zshText(option.help))]"
        let value = option.value.map { ":\(zshText($0.placeholder)):\(zshAction($0))" } ?? ""
        // An option may be given again.
        let long = Self.quoted("*--\(option.long)\(option.value == nil ? "" : "=")\(text)\(value)")
        let short = option.short.map { Self.quoted("*-\($0)\(option.value == nil ? "" : "+")\(text)\(value)") + " " }
        return (short ?? "") + long
    }

    private func zshAction(_ value: ValueSyntax) -> String {
        switch value.kind {
        case .text: ""
        case .file: "_files"
        case .folder: "_files -/"
        case .words(let words): "(\(words.joined(separator: " ")))"
        }
    }

    /// Text in which colons and brackets mean nothing.
    private func zshText(_ text: String) -> String {
        var result = ""
        for character in text {
            if ":[]\\".contains(character) { result.append("\\") }
            result.append(character)
        }
        return result
    }
}
