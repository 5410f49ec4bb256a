"""What each sector of a disk may hold after a crash, by what was sent, acknowledged and flushed."""
import struct

SECTOR = 512
INFINITY = float("inf")
ZEROS = bytes(SECTOR)


def stamp(sector, generation):
    """A sector's contents: which sector, and which write it comes from, over and over, so that a mixture shows."""
    return struct.pack("<8sQQQ", b"nacre at", sector, generation, sector ^ generation) * 16


class Request:
    def __init__(self, kind, generation, first, count, sent):
        self.kind, self.generation, self.first, self.count = kind, generation, first, count
        self.sent, self.acked, self.may_be_void = sent, INFINITY, kind == "trim"


class Model:
    """For every sector the requests whose value it may have. What a request wrote counts as gone once another one that
    began after its reply has become durable."""

    def __init__(self, sectors):
        self.clock, self.generation = 0, 1
        self.sectors, self.dirty = [None] * sectors, set()

    def tick(self):
        self.clock += 1
        return self.clock

    def settle(self, sector, generation):
        """The sector holds this, durably."""
        known = Request("known", generation, sector, 1, self.clock)
        known.acked = self.clock
        self.sectors[sector] = [known]

    def send(self, kind, first, count):
        generation = 0
        if kind == "write":
            self.generation += 1
            generation = self.generation
        request = Request(kind, generation, first, count, self.tick())
        for sector in range(first, first + count):
            self.sectors[sector].append(request)
        self.dirty.update(range(first, first + count))
        return request

    def acknowledge(self, request, is_durable):
        request.acked = self.tick()
        if is_durable and not request.may_be_void:
            for sector in range(request.first, request.first + request.count):
                self.sectors[sector] = [each for each in self.sectors[sector] if each.acked >= request.sent]

    def flushed(self, began):
        """A flush that began at this time has succeeded."""
        for sector in self.dirty:
            requests = self.sectors[sector]
            durable = max((each.sent for each in requests if each.acked < began and not each.may_be_void), default=-1)
            self.sectors[sector] = [each for each in requests if each.acked >= durable]
        self.dirty = {sector for sector in self.dirty if len(self.sectors[sector]) > 1}

    def judge(self, data):
        """The sectors that hold what they must not: (sector, "lost" or "third value", what, what they may hold)."""
        found = []
        for sector, requests in enumerate(self.sectors):
            held = data[sector * SECTOR:(sector + 1) * SECTOR]
            allowed = {each.generation for each in requests}
            generation = 0 if held == ZEROS else int.from_bytes(held[16:24], "little")
            is_whole = generation == 0 or held == stamp(sector, generation)
            if is_whole and generation in allowed:
                if len(requests) > 1:
                    self.settle(sector, generation)
                continue
            what = f"generation {generation}" if is_whole else f"{held[:32].hex()}…"
            is_old = is_whole and generation <= self.generation
            found.append((sector, "lost" if is_old else "third value", what, sorted(allowed)))
        self.dirty.clear()
        return found
