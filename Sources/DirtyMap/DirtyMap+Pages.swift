extension DirtyMap {
    /// Sets more of a page's bits: `change`, which must set one at least, finds words of the page's own. Answers false where
    /// there is no memory for these, and the whole page has become dirty.
    @discardableResult
    func add(to page: Int, _ change: (inout DirtyPage) -> Void) -> Bool {
        let (granules, before) = (granules(ofPage: page), pages[page].dirtyCount)
        guard before < granules else { return true }
        let bytes = DirtyPage.byteCount(granules)
        guard before > 0 || take(bytes) else {
            fill(page)
            return false
        }
        if before == 0 {
            pages[page].takeWords(granules)
            note(page)
        }
        change(&pages[page])
        dirtyCount += UInt64(pages[page].dirtyCount - before)
        if pages[page].dirtyCount == granules {
            pages[page].fill(true, granules)
            give(bytes)
        }
        return true
    }

    /// Makes a page wholly dirty.
    func fill(_ page: Int) {
        let (granules, before) = (granules(ofPage: page), pages[page].dirtyCount)
        if before == 0 { note(page) } else if before < granules { give(DirtyPage.byteCount(granules)) }
        pages[page].fill(true, granules)
        dirtyCount += UInt64(granules - before)
    }

    /// Clears some of a page's bits. Answers false, and changes nothing, where there is no memory to tell them from the
    /// others.
    func remove(_ bits: Range<Int>, from page: Int) -> Bool {
        let (granules, before) = (granules(ofPage: page), pages[page].dirtyCount)
        guard before > 0 else { return true }
        let bytes = DirtyPage.byteCount(granules)
        if bits.count == granules {
            if before < granules { give(bytes) }
            pages[page].fill(false, granules)
        } else {
            if before == granules {
                guard take(bytes) else { return false }
                pages[page].takeWords(granules)
            }
            pages[page].clear(bits)
            if pages[page].dirtyCount == 0 {
                pages[page].fill(false, granules)
                give(bytes)
            }
        }
        dirtyCount -= UInt64(before - pages[page].dirtyCount)
        if pages[page].dirtyCount == 0 { forget(page) }
        return true
    }

    /// The tree knows from here on that the page is not clean.
    func note(_ page: Int) {
        var position = page
        for level in tree.indices {
            let old = tree[level][position >> 6]
            tree[level][position >> 6] = old | 1 << UInt64(position & 63)
            // A word that was not zero is known to all levels above.
            if old != 0 { return }
            position >>= 6
        }
    }

    private func forget(_ page: Int) {
        var position = page
        for level in tree.indices {
            tree[level][position >> 6] &= ~(1 << UInt64(position & 63))
            if tree[level][position >> 6] != 0 { return }
            position >>= 6
        }
    }

    /// The first page at or behind `page` that is not clean, or nil: climbs to the first level that has something further on,
    /// and comes down to its first bit.
    func firstPage(from page: Int) -> Int? {
        var (position, level) = (page, 0)
        while true {
            guard level < tree.count, position >> 6 < tree[level].count else { return nil }
            let rest = tree[level][position >> 6] & (~0 << UInt64(position & 63))
            if rest != 0 {
                position = position & ~63 + rest.trailingZeroBitCount
                break
            }
            position = position >> 6 + 1
            level += 1
        }
        while level > 0 {
            level -= 1
            position = position << 6 + tree[level][position].trailingZeroBitCount
        }
        return position
    }
}
