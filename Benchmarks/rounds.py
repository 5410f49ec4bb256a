"""What the benchmarks share: servers measured in turn (A B A B …), and what is told of their rounds."""
import os
import statistics

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process and all its threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def compare(servers, rounds):
    """Measures each of two servers in every round. `servers` gives for a name what measures it once: the µs of server CPU
    per request, and the requests per second. Prints every round, the medians, and the ratio of the CPU."""
    results = {name: [] for name in servers}
    for number in range(rounds):
        for name, measure in servers.items():
            cost, rate = measure()
            results[name].append((cost, rate))
            print(f"round {number + 1}: {name:20} {cost:6.2f} µs/request {rate:9.0f} requests/s", flush=True)
    for name, rows in results.items():
        print(f"median:  {name:20} {statistics.median(r[0] for r in rows):6.2f} µs/request "
              f"{statistics.median(r[1] for r in rows):9.0f} requests/s")
    ratios = [a[0] / b[0] for a, b in zip(*results.values())]
    print(f"CPU ratio {' / '.join(results)}: median {statistics.median(ratios):.2f} "
          f"({min(ratios):.2f} to {max(ratios):.2f}, {rounds} rounds)")
