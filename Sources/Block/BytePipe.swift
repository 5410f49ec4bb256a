/// What is read or written front to back, one call at a time: standard input and output, a pipe in memory.
public protocol BytePipe: AnyObject {
    /// Fills the buffer, less only at the end. Answers how many bytes came.
    func read(into buffer: inout MutableRawSpan) async throws(BlockError) -> Int
    /// Sends all of the bytes. `closed` where nobody reads any more.
    func write(_ bytes: RawSpan) async throws(BlockError)
}
