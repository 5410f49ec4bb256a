/// What text requests of the full feature phase are answered with.
extension ISCSISession {
    func answers(to keys: TextKeys) -> TextKeys {
        var answers = TextKeys()
        for pair in keys.pairs {
            switch pair.key {
            case "SendTargets": answers.pairs += targets(pair.value)?.pairs ?? [.init(key: pair.key, value: "Reject")]
            case "MaxRecvDataSegmentLength":
                if !redeclare(pair) { answers.append(pair.key, "Reject") }
            case let key where OperationalKey.silent.contains(key): continue
            case let key:
                let isKnown = OperationalKey.refused[key] != nil || OperationalKey.all.contains { $0.name == key }
                // What was agreed while logging in stays.
                answers.append(key, isKnown ? "Reject" : "NotUnderstood")
            }
        }
        return answers
    }

    /// The initiator takes PDUs of another size from now on. False where it is no size.
    private func redeclare(_ pair: TextKeys.Pair) -> Bool {
        var keys = TextKeys()
        keys.pairs = [pair]
        var changed = parameters
        guard changed.answer(keys, isDiscovery: target == nil).pairs.isEmpty else { return false }
        adopt(changed)
        return true
    }

    /// Names and addresses of targets (RFC 7143 Appendix C): all that the initiator may log in to, in a discovery session;
    /// one by its name; the session's own where no name is given. Nil where the value is none of these.
    private func targets(_ value: String) -> TextKeys? {
        let all = server.targets.filter { $0.admits(wish?.initiator ?? "") }
        let chosen: [ISCSITarget]
        if let target {
            guard value.isEmpty || value.lowercased() == target.name.lowercased() else { return nil }
            chosen = [target]
        } else if value == "All" {
            chosen = all
        } else {
            guard !value.isEmpty else { return nil }
            chosen = all.filter { $0.name.lowercased() == value.lowercased() }
        }
        var answers = TextKeys()
        for target in chosen {
            answers.append("TargetName", target.name)
            answers.append("TargetAddress", portal)
        }
        return answers
    }
}
