/// A set of host cluster numbers: open addressing, eight bytes a slot, no allocation to look one up.
struct ClusterSet {
    /// Cluster number plus one; 0 is an empty slot. A power of two, at most half full.
    private var slots: [UInt64] = Array(repeating: 0, count: 64)
    private(set) var count = 0

    private var mask: Int { slots.count - 1 }

    private func home(_ key: UInt64) -> Int {
        Int(truncatingIfNeeded: (key &* 0x9e37_79b9_7f4a_7c15) >> 20) & mask
    }

    func contains(_ cluster: UInt64) -> Bool {
        let key = cluster &+ 1
        var slot = home(key)
        while slots[slot] != 0 {
            if slots[slot] == key { return true }
            slot = (slot + 1) & mask
        }
        return false
    }

    /// Whether a cluster of the set is one of those that `matches` tells of: looks at each.
    func contains(where matches: (UInt64) -> Bool) -> Bool { slots.contains { $0 != 0 && matches($0 &- 1) } }

    /// Answers false where the cluster was there already.
    @discardableResult
    mutating func insert(_ cluster: UInt64) -> Bool {
        if (count + 1) * 2 > slots.count { grow() }
        return place(cluster &+ 1)
    }

    @discardableResult
    mutating func remove(_ cluster: UInt64) -> Bool {
        let key = cluster &+ 1
        var slot = home(key)
        while slots[slot] != key {
            if slots[slot] == 0 { return false }
            slot = (slot + 1) & mask
        }
        count -= 1
        // Later members of the probe run move back, so that no search stops short of them.
        var next = (slot + 1) & mask
        while slots[next] != 0 {
            let distance = (next - home(slots[next])) & mask
            if distance >= (next - slot) & mask {
                slots[slot] = slots[next]
                slot = next
            }
            next = (next + 1) & mask
        }
        slots[slot] = 0
        return true
    }

    private mutating func place(_ key: UInt64) -> Bool {
        var slot = home(key)
        while slots[slot] != 0 {
            if slots[slot] == key { return false }
            slot = (slot + 1) & mask
        }
        slots[slot] = key
        count += 1
        return true
    }

    private mutating func grow() {
        let old = slots
        slots = Array(repeating: 0, count: old.count * 2)
        count = 0
        for key in old where key != 0 { _ = place(key) }
    }
}
