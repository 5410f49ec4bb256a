/// Why bytes could not be compressed or decompressed.
public enum CodecError: Error, Equatable, Sendable {
    /// The input is not what the codec reads, ends early, or does not give exactly as many bytes as were asked for.
    case invalid
    /// The output does not fit the room given; for a compressor: the input does not shrink.
    case tooLarge
    /// The codec's library could not be set up.
    case unavailable
}
