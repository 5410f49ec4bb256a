import Block
import Bytes

extension ImageTool {
    /// `dd`: copies blocks of one image into a new one, zeros like all else. `warn` is told where there is nothing to
    /// copy.
    public func copyBlocks(_ request: CopyBlocksRequest, warn: (String) -> Void = { _ in }) async throws(ImageError) {
        let chain = try await open(
            source(
                request.input, request.format, isOptions: request.isOptions, forceShare: request.forceShare, .writeback)
        )
        var failure: ImageError?
        do throws(ImageError) { try await copyBlocks(request, chain, warn) } catch { failure = error }
        await chain.close()
        if let failure { throw failure }
    }

    private func copyBlocks(_ request: CopyBlocksRequest, _ chain: ImageChain, _ warn: (String) -> Void)
        async throws(ImageError)
    {
        let format = request.targetFormat ?? "raw"
        guard CreateRequest.Kind(rawValue: format) != nil else { throw ImageError("Unknown file format") }
        do { _ = try place(ofNew: request.output) } catch { throw ImageError(error.text) }
        let disk = try DiskSource([(chain, request.input)], leavesBacking: false)
        let range = request.range(of: disk.length ?? 0)
        let count = range.map { $0.end - $0.start } ?? 0
        let target: TargetImage
        do throws(ImageError) {
            guard let size = count.roundedUpToSector else { throw ImageError("The image size is too large") }
            var options = OptionList()
            options.set("size", String(size))
            let creation = try CreateRequest(path: request.output, format: format, options: options)
            target = try await TargetImage.make(creation, size: size, .writeback, self)
        } catch {
            throw ImageError(
                "\(request.output): error while creating output image: "
                    + error.message.dropping(prefix: "\(request.output): "))
        }
        do throws(ImageError) {
            if let range {
                try await copy(ByteRange(from: range.start, to: range.end), of: disk, to: target.walker)
            } else {
                warn("\(request.input): cannot skip to specified offset")
            }
        } catch {
            await target.abandon()
            throw error
        }
        try await target.finish()
    }

    private func copy(_ range: ByteRange, of disk: DiskSource, to target: BlockIO) async throws(ImageError) {
        var buffer = AlignedBuffer(byteCount: Int(min(max(range.count, 1), GuestCopy.bufferSize)))
        var span = buffer.mutableBytes
        var rest = range
        while !rest.isEmpty {
            let part = rest.prefix(GuestCopy.bufferSize)
            var bytes = span._mutatingExtracting(0..<Int(part.count))
            do throws(ImageError) { _ = try await disk.read(at: part.start, into: &bytes) } catch {
                throw ImageError("error while reading from input image file: \(error.reason)")
            }
            do { try await target.write(at: part.start - range.start, from: bytes.bytes, flags: []) } catch {
                throw ImageError("error while writing to output image file: \(error.sentence)")
            }
            rest = rest.dropping(part.count)
        }
    }
}

extension ImageError {
    /// What stands behind the last colon: why, without where.
    var reason: String {
        var parts = message.split(separator: ": ", omittingEmptySubsequences: false)
        return parts.popLast().map(String.init) ?? message
    }
}
