import Block
import DirtyMap
import Qcow2

extension CrashRun {
    /// Does something to a bitmap of the top image. No request is under way.
    func perform(_ step: BitmapStep) async throws(BlockError) {
        let image = chain.image
        // What cannot be done is left out.
        guard isPossible(step, image) else { return }
        verbs.begin([step.verb])
        defer { verbs.end([step.verb]) }
        switch step {
        case .add(let name, let bits, let isEnabled):
            guard let map = DirtyMap(length: image.length, granularityBits: bits, memory: image.bitmaps.memory)
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
            guard let bitmap = image.bitmaps.find(name) else { return }
            image.bitmaps.setEnabled(bitmap, isEnabled)
            bitmaps.set(name, isEnabled: isEnabled)
        case .merge(let name, let other):
            guard let map = image.bitmaps.find(name)?.map, let source = image.bitmaps.find(other)?.map else { return }
            map.merge(source)
            bitmaps.merged(name, from: other, length: image.length)
        }
    }

    private func isPossible(_ step: BitmapStep, _ image: Qcow2Image) -> Bool {
        switch step {
        case .add(let name, let bits, _):
            image.bitmaps.find(name) == nil && image.bitmapRefusal(name, granularityBits: bits) == nil
        case .remove(let name): image.bitmaps.find(name) != nil
        case .clear(let name): image.bitmaps.find(name)?.map != nil
        case .setEnabled(let name, _): image.bitmaps.find(name)?.isInconsistent == false
        case .merge(let name, let other):
            if let bitmap = image.bitmaps.find(name), let source = image.bitmaps.find(other) {
                bitmap.mergeRefusal(source) == nil && image.bitmapsRefusal == nil
            } else {
                false
            }
        }
    }
}

extension BitmapStep {
    fileprivate var verb: Verb {
        switch self {
        case .add: .bitmapAdd
        case .remove: .bitmapRemove
        case .clear: .bitmapClear
        case .setEnabled(_, let isEnabled): isEnabled ? .bitmapEnable : .bitmapDisable
        case .merge: .bitmapMerge
        }
    }
}
