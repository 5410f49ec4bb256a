import Block
import Bytes

/// `compare`: which two images, and how.
public struct CompareRequest: Sendable {
    public var first: String
    public var second: String
    public var firstFormat: String?
    public var secondFormat: String?
    /// Whether size and allocation count as well.
    public var isStrict = false
    public var forceShare = false
    /// Whether the names are options of the images' nodes.
    public var areOptions = false
    public var isQuiet = false
    public var sourceCache = CacheMode.writeback

    public init(_ first: String, _ second: String) {
        self.first = first
        self.second = second
    }
}

extension ImageTool {
    /// `compare`: whether two images read the same. Answers 0 where they do and 1 where not; fails with 2 where one could not
    /// be opened, 3 where its map and 4 where its bytes could not be read.
    public func compare(_ request: CompareRequest, progress: @escaping (Double) -> Void = { _ in })
        async throws(ImageError) -> Int32
    {
        progress(0)
        let first = try await open(request.first, request.firstFormat, request)
        do throws(ImageError) {
            let second = try await open(request.second, request.secondFormat, request)
            do throws(ImageError) {
                let comparison = Comparison(
                    (first, request.first), (second, request.second), isStrict: request.isStrict, progress: progress)
                let isSame = try await comparison.run { if !request.isQuiet { output($0 + "\n") } }
                await second.close()
                await first.close()
                return isSame ? 0 : 1
            } catch {
                await second.close()
                throw error
            }
        } catch {
            await first.close()
            throw error
        }
    }

    private func open(_ path: String, _ format: String?, _ request: CompareRequest) async throws(ImageError)
        -> ImageChain
    {
        do {
            return try await open(
                source(
                    path, format, isOptions: request.areOptions, forceShare: request.forceShare, request.sourceCache))
        } catch {
            throw ImageError(error.message, exitCode: 2)
        }
    }
}
