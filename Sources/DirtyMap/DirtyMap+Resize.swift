extension DirtyMap {
    /// Follows the disk to another length: what is gained is clean, what is lost is forgotten. Answers false, and changes
    /// nothing, where there is no memory for it. The page in which the shorter of both ends is like any other: where there is no
    /// memory to tell its granules apart, it becomes dirty.
    public func resize(to newLength: UInt64) -> Bool {
        let count = Self.pages(newLength, granularityBits)
        let (old, new) = (Self.frameBytes(UInt64(pages.count)), Self.frameBytes(count))
        guard new <= old || take(new - old) else { return false }
        if new < old { give(old - new) }
        let kept = min(granuleCount, Self.granules(newLength, granularityBits))
        let page = Int(kept / UInt64(DirtyPage.granules))
        // What is kept of the page that the kept granules end in.
        let bits = Int(kept % UInt64(DirtyPage.granules))
        let border = bits > 0 ? pages[page].prefix(bits) : DirtyPage()
        for lost in page..<pages.count where 1..<granules(ofPage: lost) ~= pages[lost].dirtyCount {
            give(DirtyPage.byteCount(granules(ofPage: lost)))
        }
        pages.removeSubrange(page...)
        pages.append(contentsOf: repeatElement(DirtyPage(), count: Int(count) - page))
        length = newLength
        tree = Self.tree(count)
        dirtyCount = 0
        for (page, bits) in pages.enumerated() where bits.dirtyCount > 0 {
            note(page)
            dirtyCount += UInt64(bits.dirtyCount)
        }
        if border.dirtyCount > 0 {
            add(to: page) { for (word, bits) in border.words.enumerated() { $0.add(bits, to: word) } }
        }
        return true
    }
}
