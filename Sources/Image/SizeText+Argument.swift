extension SizeText {
    /// The number behind an option, in the words of QEMU's tools where it is none or lies outside: `what` names it.
    public static func argument(
        _ text: String, _ what: String, in range: ClosedRange<UInt64> = 0...UInt64(Int64.max)
    ) throws(ImageError) -> UInt64 {
        do throws(Mistake) {
            let value = try parse(text)
            guard range.contains(value) else { throw .outOfRange }
            return value
        } catch .malformed {
            throw ImageError(
                """
                Invalid \(what) specified. You may use k, M, G, T, P or E suffixes for
                kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.
                """)
        } catch {
            throw ImageError("Invalid \(what) specified. Must be between \(range.lowerBound) and \(range.upperBound).")
        }
    }

    /// A number without a unit, as C writes it: `10`, `0x1f`, `017`.
    public static func number(_ text: String) -> UInt64? {
        if text.hasPrefix("0x") || text.hasPrefix("0X") { return UInt64(text.dropFirst(2), radix: 16) }
        return text.hasPrefix("0") && text.count > 1 ? UInt64(text.dropFirst(), radix: 8) : UInt64(text)
    }
}
