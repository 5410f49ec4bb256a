import Commands
import Image

/// `check`: compares an image's references with its refcounts, and mends what it may.
struct ImgCheck: ImgCommand {
    static let syntax = CommandSyntax(
        "check", "Finds what is wrong with an image, and mends it if asked to.",
        details: ["A repair does not guess the format: say -f qcow2. (Called qemu-img it guesses, as that does.)"],
        operands: [.init(.image, "the image")],
        options: [repair, doctor, .output, .quiet, .format, .imageOpts, .object, .sourceCache, .forceShare],
        examples: [
            .init("disk.qcow2", "say what is wrong"),
            .init("-f qcow2 -r leaks disk.qcow2", "give clusters back that nothing uses"),
        ],
        exitCodes: [
            (0, "nothing is wrong, or all was mended"), (1, "it could not be checked"), (2, "the image is damaged"),
            (3, "clusters are leaked, and nothing else is wrong"), (63, "the format has nothing to check"),
        ])

    private static let repair = OptionSyntax(
        "repair", short: "r", value: .oneOf("leaks", "all"), "mend leaked clusters, or all that can be mended")
    private static let doctor = OptionSyntax(
        "doctor", "say first what the damage means to the guest: what is lost of which disk, and what can be read")

    let path: String
    let format: String?
    let form: ImageTool.Form
    let repair: ImageTool.Repair
    let doctor: Bool
    let isQuiet: Bool
    let forceShare: Bool

    init(_ words: CommandWords) throws(UsageMistake) {
        switch words[Self.repair] {
        case nil: repair = .none
        case "leaks": repair = .leaks
        case "all": repair = .all
        case let other?: throw UsageMistake("Unknown option value for -r (expecting 'leaks' or 'all'): \(other)")
        }
        path = try words.image()
        form = try words.form()
        format = words[.format]
        doctor = words.has(Self.doctor)
        isQuiet = words.has(.quiet)
        forceShare = words.has(.forceShare)
    }

    func run(_ session: ImgSession) async throws(ImageError) -> Int32 {
        try await session.tool.check(
            path, format: format, form: form, repair: repair, doctor: doctor, quiet: isQuiet, forceShare: forceShare)
    }
}
