import Block
import Bytes
import JSON
import Qcow2

/// The room that an image takes in its file, in bytes.
struct ImageMeasure: Equatable {
    /// With the data that there is.
    var required: UInt64
    /// Once all of the disk is written.
    var fullyAllocated: UInt64
    /// What its bitmaps take beside, where it can have some.
    var bitmaps: UInt64?

    func text(_ form: ImageTool.Form) -> String {
        switch form {
        case .human:
            "required size: \(required)\nfully allocated size: \(fullyAllocated)\n"
                + (bitmaps.map { "bitmaps size: \($0)\n" } ?? "")
        case .json: json + "\n"
        }
    }

    private var json: String {
        var object = JSONObject()
        object["bitmaps"] = bitmaps.map { JSONValue($0) }
        object["required"] = JSONValue(required)
        object["fully-allocated"] = JSONValue(fullyAllocated)
        return JSONValue.object(object).text(.pretty)
    }
}

extension ImageTool {
    /// `measure`: says what room a new image takes that a disk is converted to.
    public func measure(_ request: MeasureRequest, form: Form) async throws(ImageError) {
        var chain: ImageChain?
        if let image = request.image { chain = try await open(image) }
        var failure: ImageError?
        var result: ImageMeasure?
        do throws(ImageError) {
            if let name = request.snapshot { try await chain?.show(name) }
            result = try await measure(request, chain)
        } catch { failure = error }
        await chain?.close()
        if let failure { throw failure }
        if let result { output(result.text(form)) }
    }

    private func measure(_ request: MeasureRequest, _ chain: ImageChain?) async throws(ImageError) -> ImageMeasure {
        guard CreateRequest.Kind(rawValue: request.targetFormat) != nil else {
            throw ImageError("Unknown file format '\(request.targetFormat)'")
        }
        let creation: CreateRequest
        do {
            var options = request.options
            options.set("size", String(request.size ?? chain?.top.length ?? 0))
            creation = try CreateRequest(path: "", format: request.targetFormat, options: options)
        } catch {
            throw ImageError(
                error.message.dropping(prefix: ": ") + "\nInvalid options for file format '\(request.targetFormat)'")
        }
        let length = (chain?.top.length ?? request.size ?? 0).roundedUpToSector
        guard let length else { throw ImageError("The image size is too large (try using a larger cluster size)") }
        if creation.kind == .raw { return ImageMeasure(required: length, fullyAllocated: length) }
        return try await measure(creation, length, chain)
    }

    private func measure(_ creation: CreateRequest, _ length: UInt64, _ chain: ImageChain?)
        async throws(ImageError) -> ImageMeasure
    {
        let options: CreateOptions
        let room: Qcow2Room
        do throws(OpenError) {
            do { options = try creation.qcow2Options(size: length) } catch {
                throw OpenError(error.message.dropping(prefix: ": "))
            }
            room = try Qcow2Room(options)
        } catch {
            // It speaks of the options as they are written.
            throw ImageError(
                error.message.replacing("(use version=v3 or greater)", with: "(use compat=1.1 or greater)"))
        }
        var data: UInt64 = 0
        if let chain {
            // How much of the backing chain the new image would share is not known.
            data =
                creation.backingFile == nil
                ? try await dataBytes(of: chain, length, clusterSize: options.clusterSize) : room.diskBytes
        }
        if options.preallocation == .full || options.preallocation == .falloc { data = room.diskBytes }
        var result = ImageMeasure(
            required: room.fullyAllocated - room.diskBytes + data, fullyAllocated: room.fullyAllocated)
        if let image = chain?.image, image.header.version >= 3, options.version == .v3 {
            result.bitmaps = room.bitmapBytes(image.info.bitmaps, length: image.length)
        }
        return result
    }

    /// Bytes of the clusters that hold data.
    private func dataBytes(of chain: ImageChain, _ length: UInt64, clusterSize: UInt64) async throws(ImageError)
        -> UInt64
    {
        let source = try DiskSource([(chain, "")], leavesBacking: false)
        var (position, total) = (0 as UInt64, 0 as UInt64)
        while position < length {
            let part: CopyPart
            do { part = try await source.run(at: position) } catch {
                let why = error.message.split(separator: ": ").last.map(String.init) ?? ""
                throw ImageError("Unable to get block status: \(why)")
            }
            var end = part.range.end
            if part.kind == .data {
                end = end.roundedUp(to: clusterSize) ?? end
                total += end - position.roundedDown(to: clusterSize)
            }
            position = end
        }
        return total
    }
}
