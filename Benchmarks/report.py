"""What a run leaves: lines on the terminal, the tables of docs/performance.md, and the picture beside it."""
import dataclasses, datetime, os, pathlib, platform, re, subprocess

import figures
import picture

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
UNITS = {"rate": "throughput", "cpu": "CPU per request", "p50": "median latency", "p99": "99th percentile",
         "stall": "longest stall", "start": "time", "memory": "memory"}
NAMES = {"qsd": "qemu-storage-daemon", "qsd, threads": "qemu-storage-daemon, threads"}


@dataclasses.dataclass
class Row:
    workload: object
    rounds: list
    verdicts: list


def name(server):
    return NAMES.get(server, server)


def figure(target):
    """What is compared, and of which of our servers where it is not the first."""
    return UNITS[target.figure] + (f" ({target.ours.removeprefix('ours, ')})" if target.ours else "")


def lines(row):
    return "\n".join(
        f"{row.workload.name:14} {figure(verdict.target)} against {name(verdict.target.peer)}: "
        f"{verdict.measured.text() if verdict.measured else '-'}, wanted {verdict.target.text()}: {verdict.word()}"
        for verdict in row.verdicts)


def machine(versions, folder):
    """Where the run was, as a list of sentences."""
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    system = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", folder], capture_output=True, text=True).stdout.strip()
    commit = subprocess.run(["git", "log", "-1", "--format=%h %cs"], capture_output=True, text=True).stdout.strip()
    programs = ", ".join(f"{program} {version}" for program, version in sorted(versions.items()))
    return [f"{datetime.date.today()}, nacre {commit or '(no checkout)'}",
            f"{os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}, {memory} GiB, "
            f"Linux {platform.release().partition('-')[0]}, images on {system}", programs]


def targets_table(rows):
    out = ["| workload | figure | against | target | measured, ours ÷ theirs | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        for number, verdict in enumerate(row.verdicts):
            title = row.workload.title if number == 0 else ""
            out.append(f"| {title} | {figure(verdict.target)} | {name(verdict.target.peer)} "
                       f"| {verdict.target.text()} | {verdict.measured.text() if verdict.measured else '—'} "
                       f"| {verdict.word()} |")
    return out


def amount(value, places=1):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.{places}f}"


def servers_table(rows):
    """The medians themselves, by server."""
    out = ["| workload | server | requests/s | CPU, µs/request | p50, µs | p99, µs | other |",
           "|---|---|---|---|---|---|---|"]
    other = {"stall": "stall {} ms", "start": "{} ms", "memory": "{} MiB"}
    for row in rows:
        for number, server in enumerate(row.workload.servers):
            value = {figure: figures.median(row.rounds, figure, server) for figure in UNITS}
            if not any(value.values()):
                continue
            rest = ", ".join(text.format(amount(value[figure])) for figure, text in other.items() if value[figure])
            out.append(f"| {row.workload.title if number == 0 else ''} | {name(server)} | {amount(value['rate'])} "
                       f"| {amount(value['cpu'], 2)} | {amount(value['p50'])} | {amount(value['p99'])} | {rest} |")
    return out


def record(folder, rows, where, settings):
    """Puts the run in the place of the last one in performance.md, and draws it."""
    text = [BEGIN, "", *(f"- {sentence}" for sentence in where), f"- {settings} for each server, in turn", "",
            "![Ours beside each peer](performance.svg)", "", *targets_table(rows), "",
            "The medians behind them:", "", *servers_table(rows), "", END]
    page = folder / "performance.md"
    old = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    head, _, rest = old.partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(head + "\n".join(text) + tail, encoding="utf-8")
    (folder / "performance.svg").write_text(picture.draw(rows, where[0]), encoding="utf-8")
