import Block
import Bytes

extension Program {
    /// A smaller program that still does what `isInteresting` looks for: steps left out, requests cut down.
    ///
    /// Tries at most `tries` programs; what it ends with is one of them.
    public func shrunk(tries: Int = 400, while isInteresting: (Program) -> Bool) -> Program {
        var best = self
        var left = tries
        func holds(_ candidate: Program) -> Bool {
            guard left > 0 else { return false }
            left -= 1
            guard isInteresting(candidate) else { return false }
            best = candidate
            return true
        }
        var span = max(1, steps.count / 2)
        while span > 0, left > 0 {
            var index = 0
            while index < best.steps.count {
                var fewer = best.steps
                fewer.removeSubrange(index..<min(index + span, fewer.count))
                if !holds(best.with(fewer)) { index += span }
            }
            span /= 2
        }
        for index in best.steps.indices {
            while let smaller = best.steps[index].halved {
                var steps = best.steps
                steps[index] = smaller
                guard holds(best.with(steps)) else { break }
            }
        }
        return best
    }

    private func with(_ steps: [Step]) -> Program { Program(seed: seed, shape: shape, steps: steps) }
}

extension Step {
    /// The same on the first half of its range, down to a sector.
    fileprivate var halved: Step? {
        func half(_ range: ByteRange) -> ByteRange? { range.count > 512 ? range.prefix(range.count / 2) : nil }
        switch self {
        case .write(let range, let fua, let fill): return half(range).map { .write($0, fua: fua, fill: fill) }
        case .writeZeros(let range): return half(range).map { .writeZeros($0) }
        case .zero(let range, let mayUnmap, let fua):
            return half(range).map { .zero($0, mayUnmap: mayUnmap, fua: fua) }
        case .discard(let range): return half(range).map { .discard($0) }
        default: return nil
        }
    }
}
