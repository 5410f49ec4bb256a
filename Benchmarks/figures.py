"""What is made of the rounds: medians of pairwise ratios, their spread, and whether a target is met."""
import dataclasses, statistics


@dataclasses.dataclass(frozen=True)
class Target:
    """Ours over a peer's: at least, or at most, this much."""
    figure: str
    peer: str
    bound: float
    at_least: bool
    # Which of our servers; None: the workload's first.
    ours: str | None = None

    def text(self):
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}×"


def at_least(bound, figure="rate", peer="qsd", ours=None):
    return Target(figure, peer, bound, True, ours)


def at_most(bound, figure="cpu", peer="qsd", ours=None):
    return Target(figure, peer, bound, False, ours)


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Of the rounds' ratios the median, the least and the greatest."""
    median: float
    least: float
    greatest: float

    def text(self):
        return f"{self.median:.2f}× ({self.least:.2f}–{self.greatest:.2f})"


def ratio(rounds, figure, one, other):
    """`rounds`: for each the figures by server. None where one of the two was never measured."""
    pairs = [each[one][figure] / each[other][figure] for each in rounds
             if figure in each.get(one, {}) and each.get(other, {}).get(figure)]
    return Ratio(statistics.median(pairs), min(pairs), max(pairs)) if pairs else None


def median(rounds, figure, server):
    values = [each[server][figure] for each in rounds if figure in each.get(server, {})]
    return statistics.median(values) if values else None


# With server and client on a core each the client is often the slower one: a throughput target is then met at this
# part of what the same client reaches against a server that does nothing but answer.
PART_OF_FLOOR = 0.9


@dataclasses.dataclass(frozen=True)
class Verdict:
    target: Target
    measured: Ratio | None
    # The bound that the client leaves, where that is lower than the target's.
    client_bound: float | None = None

    @property
    def is_met(self):
        if self.measured is None:
            return None
        if not self.target.at_least:
            return self.measured.median <= self.target.bound
        return self.measured.median >= min(self.target.bound, self.client_bound or self.target.bound)

    def word(self):
        if self.is_met is None:
            return "not measured"
        if not self.is_met:
            return "**no**"
        by_client = self.target.at_least and self.measured.median < self.target.bound
        return f"yes, the client's limit ({self.client_bound:.2f}×)" if by_client else "yes"


def judge(workload, rounds):
    for target in workload.targets:
        measured = ratio(rounds, target.figure, target.ours or workload.ours, target.peer)
        bound = None
        if target.figure == "rate" and target.peer != "floor":
            floor = ratio(rounds, "rate", "floor", target.peer)
            bound = PART_OF_FLOOR * floor.median if floor else None
        yield Verdict(target, measured, bound)
