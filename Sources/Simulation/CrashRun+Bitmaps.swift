import Block
import DirtyMap
import Qcow2

extension CrashRun {
    /// Does something to a bitmap of the top image. No request is under way.
    func perform(_ step: BitmapStep) async throws(BlockError) {
        let image = chain.image
        switch step {
        case .add(let name, let bits, let isEnabled):
            guard image.bitmaps.find(name) == nil, image.bitmapRefusal(name, granularityBits: bits) == nil,
                let map = DirtyMap(length: image.length, granularityBits: bits, memory: image.bitmaps.memory)
            else { return }
            image.bitmaps.add(
                DirtyBitmap(name: name, map: map, granularityBits: bits, isEnabled: isEnabled, isPersistent: true))
            bitmaps.added(name, granularityBits: bits, isEnabled: isEnabled)
        case .remove(let name):
            guard let bitmap = image.bitmaps.find(name) else { return }
            try await image.removeStoredBitmap(name)
            image.bitmaps.remove(bitmap)
            bitmaps.removed(name)
        case .clear(let name):
            guard let map = image.bitmaps.find(name)?.map else { return }
            map.clearAll()
            bitmaps.cleared(name)
        case .setEnabled(let name, let isEnabled):
            guard let bitmap = image.bitmaps.find(name), !bitmap.isInconsistent else { return }
            image.bitmaps.setEnabled(bitmap, isEnabled)
            bitmaps.set(name, isEnabled: isEnabled)
        }
    }
}
