import Block
import DirtyMap
import Qcow2

extension ImageTool {
    /// What `--bitmaps` needs of the source, found before the target is made.
    func checkBitmaps(_ request: ConvertRequest, _ opened: [(chain: ImageChain, name: String)]) throws(ImageError) {
        guard opened.count == 1 else { throw ImageError("Copying bitmaps only possible with single source") }
        guard let image = opened[0].chain.image, image.header.version >= 3 else {
            throw ImageError("Source lacks bitmap support")
        }
        guard !request.skipsBrokenBitmaps else { return }
        // QEMU has its bitmaps newest first, and so the other way round than the file.
        for bitmap in image.info.bitmaps.reversed() where bitmap.isInUse {
            throw ImageError(
                """
                Cannot copy inconsistent bitmap '\(bitmap.name)'
                Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it
                """)
        }
    }

    /// Copies the persistent bitmaps of the image that was named; the target stores them when it is finished.
    func copyBitmaps(
        _ request: ConvertRequest, of chain: ImageChain, to target: TargetImage, _ warn: (String) -> Void
    ) async throws(ImageError) {
        guard let image = target.image, image.header.version >= 3 else {
            let format = target.image == nil ? "raw" : "qcow2"
            throw ImageError("Format driver '\(format)' does not support bitmaps")
        }
        for bitmap in chain.image?.bitmaps.all ?? [] where bitmap.isPersistent {
            guard let name = bitmap.name else { continue }
            guard let map = bitmap.map else {
                warn("warning: Skipping inconsistent bitmap '\(name)'")
                continue
            }
            let copy: DirtyBitmap
            do throws(OpenError) {
                if let refusal = image.bitmapRefusal(name, granularityBits: bitmap.granularityBits) {
                    throw OpenError(
                        "Can't make bitmap '\(name)' persistent in '\(request.target)': \(refusal.message)")
                }
                copy = try DirtyBitmap.make(
                    name, granularity: bitmap.granularity, length: image.length, isEnabled: bitmap.isEnabled,
                    isPersistent: true, beside: image.bitmaps.all, memory: image.bitmaps.memory)
            } catch { throw ImageError("Failed to create bitmap \(name): \(error.message)") }
            if let refusal = copy.mergeRefusal(bitmap) {
                throw ImageError("Failed to populate bitmap \(name): \(refusal.message)")
            }
            copy.map?.merge(map)
            image.bitmaps.add(copy)
        }
    }
}
