/// The line in which qemu-img tells how far it is: written over itself where that has grown.
public struct ProgressText {
    private var shown: Double?
    private let step: Double

    /// `step`: hundredths by which it has to grow.
    public init(step: Double = 1) { self.step = step }

    /// The text for this share of the work, 0 to 1, or nil where nothing need be said.
    public mutating func text(_ share: Double) -> String? {
        let percent = min(max(share, 0), 1) * 100
        if let shown, percent < 100 || shown == 100, percent - shown < step { return nil }
        shown = percent
        let hundredths = Int((percent * 100).rounded())
        let fraction = String(100 + hundredths % 100).dropFirst()
        return "    (\(hundredths / 100).\(fraction)/100%)\r"
    }

    /// The text when all is done.
    public static let whole = "    (100.00/100%)\r"
    /// What ends the line.
    public static let end = "\n"
}
