import Image
import Testing

@Suite("Sizes as text")
struct SizeTextTests {
    @Test(
        "a size is read with its suffix, and a fraction of a unit is one",
        arguments: [
            ("0", 0), ("512", 512), ("64k", 65536), ("64K", 65536), ("1.5G", 1_610_612_736), ("0x1000", 4096),
            ("7b", 7), (".5k", 512), ("2T", 2_199_023_255_552), ("9223372036854775807", UInt64(Int64.max)),
        ])
    func reads(text: String, bytes: UInt64) throws { #expect(try SizeText.parse(text) == bytes) }

    @Test(
        "what is no size is refused, whatever it is",
        arguments: ["", "k", "1Q", "1kk", "abc", "1.5", "1.5b", "0x", "0xg", "1 k", "+1", "-1", "1e3", "0x-1", "٣"])
    func refuses(text: String) { #expect(throws: SizeText.Mistake.malformed) { try SizeText.parse(text) } }

    @Test(
        "what no disk can hold is out of range",
        arguments: ["8E", "9223372036854775808", "99999999999999999999999", "0xffffffffffffffff"])
    func bounds(text: String) { #expect(throws: SizeText.Mistake.outOfRange) { try SizeText.parse(text) } }

    @Test(
        "a size is said in three digits, as qemu-img says it",
        arguments: [
            (0, "0 B"), (1, "1 B"), (512, "512 B"), (999, "999 B"), (1000, "0.977 KiB"), (1024, "1 KiB"),
            (401_408, "392 KiB"), (1_048_576, "1 MiB"), (1_610_612_736, "1.5 GiB"), (1152, "1.12 KiB"),
            (102_400, "100 KiB"), (1_023_488, "1e+03 KiB"), (1_099_511_627_776, "1 TiB"), (UInt64(Int64.max), "8 EiB"),
        ])
    func says(bytes: UInt64, text: String) { #expect(SizeText.describe(bytes) == text) }
}
