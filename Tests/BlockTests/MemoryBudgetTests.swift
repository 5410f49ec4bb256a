import Block
import BlockTestKit
import Testing

@Suite("The memory budget")
struct MemoryBudgetTests {
    /// 128 KiB a client, and as much for each of them in common.
    private static let unit = 128 << 10

    @Test(
        "what all clients hold together never passes the limit, and all of it comes back",
        arguments: 0..<20 as Range<UInt64>)
    func bound(seed: UInt64) {
        let budget = MemoryBudget(limit: 16 * Self.unit, clients: 8)
        var random = SeededRandom(seed: seed)
        var accounts = (0..<8).map { _ in MemoryAccount(budget) }
        for _ in 0..<2000 {
            let account = accounts[random.below(8)]
            let before = account.used
            let bytes = random.below(3 * Self.unit)
            switch random.below(8) {
            case 0..<5:
                if account.charge(bytes) {
                    #expect(account.used == before + bytes)
                } else {
                    #expect(account.used == before && before + bytes > budget.share)
                }
            case 5..<7: account.refund(min(bytes, before))
            default: accounts[random.below(8)] = MemoryAccount(budget)
            }
            #expect(accounts.reduce(0) { $0 + $1.used } <= budget.limit)
            #expect(budget.common >= 0)
        }
        accounts = []
        #expect(budget.common == budget.limit / 2)
    }

    @Test("clients on several threads pass the limit no more than on one, and all comes back")
    func threads() async {
        let budget = MemoryBudget(limit: 16 * Self.unit, clients: 4)
        let least = await withTaskGroup(of: Int.self) { group in
            for seed in 0..<4 as Range<UInt64> {
                group.addTask {
                    var random = SeededRandom(seed: seed)
                    var least = Int.max
                    let account = MemoryAccount(budget)
                    for _ in 0..<20_000 {
                        let bytes = random.below(6 * Self.unit)
                        if !account.charge(bytes) { account.refund(account.used / 2) }
                        least = min(least, budget.common)
                    }
                    return least
                }
            }
            return await group.reduce(Int.max, min)
        }
        #expect(least >= 0 && least < budget.limit / 2)
        #expect(budget.common == budget.limit / 2)
    }

    @Test("a client's own share is always to be had, however much the others took")
    func ownShare() {
        let budget = MemoryBudget(limit: 16 * Self.unit, clients: 8)
        let greedy = (0..<7).map { _ in MemoryAccount(budget) }
        for account in greedy { while account.charge(4096) {} }
        let modest = MemoryAccount(budget)
        #expect(modest.charge(budget.share))
    }

    @Test("a greedy client takes of the common half no more than it leaves, so whoever comes next finds some")
    func leavesSome() {
        let budget = MemoryBudget(limit: 1 << 20, clients: 4)
        let greedy = (0..<3).map { _ in MemoryAccount(budget) }
        for account in greedy { while account.charge(1) {} }
        #expect(greedy[0].used - budget.share == 256 << 10)
        for account in greedy { #expect(budget.common * 8 >= account.used - budget.share) }
        let next = MemoryAccount(budget)
        #expect(next.charge(budget.share + budget.common / 2))
    }

    @Test("where shares would be too small for a client's least needs, there may be fewer clients")
    func fewerClients() {
        #expect(MemoryBudget().clients == 1024)
        #expect(MemoryBudget().share == 256 << 10)
        #expect(MemoryBudget(limit: 64 << 20).clients == 256)
        #expect(MemoryBudget(limit: MemoryBudget.least).clients == 64)
        #expect(MemoryBudget(limit: 1).clients == 1)
    }
}
