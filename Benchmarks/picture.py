"""The picture: for each target a bar from the peer (1×) to ours, on a scale of powers of two, and a mark where it has to be."""
import html, math

LEFT, WIDTH, ROW, TOP = 330, 460, 20, 74
LEAST, MOST = 1 / 4, 8

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 } .small { font-size: 11px } .faint { fill: #656d76 }
  .title { font-size: 16px; font-weight: 600 } .grid { stroke: #d0d7de } .one { stroke: #656d76; stroke-width: 1.5 }
  .good { fill: #1a7f37 } .bad { fill: #bc4c00 } .goal { stroke: #1f2328; stroke-width: 2 } .paper { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .faint { fill: #8d96a0 } .grid { stroke: #30363d } .one { stroke: #8d96a0 }
    .good { fill: #3fb950 } .bad { fill: #db6d28 } .goal { stroke: #e6edf3 } .paper { fill: #0d1117 }
  }
"""
WORDS = {"rate": "throughput", "cpu": "less CPU per request", "p50": "less latency", "stall": "shorter stall",
         "start": "less time", "memory": "less memory"}


def place(factor):
    """Where a factor of "better" lies, from left to right."""
    factor = min(max(factor, LEAST), MOST)
    return LEFT + WIDTH * math.log(factor / LEAST) / math.log(MOST / LEAST)


def better(target, ratio):
    """How many times better than the peer: of what should be small, the inverse."""
    return ratio if target.at_least else 1 / ratio


def text(x, y, words, classes="", anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{classes}" text-anchor="{anchor}">{html.escape(words)}</text>'


def bar(y, verdict):
    ours = better(verdict.target, verdict.measured.median)
    goal = place(better(verdict.target, verdict.target.bound))
    start, end = sorted((place(1), place(ours)))
    label_x, anchor = (end + 6, "start") if ours >= 1 else (start - 6, "end")
    return (f'<rect x="{start:.1f}" y="{y + 3}" width="{max(end - start, 1):.1f}" height="{ROW - 7}" rx="2" '
            f'class="{"good" if verdict.is_met else "bad"}"/>'
            f'<line x1="{goal:.1f}" x2="{goal:.1f}" y1="{y + 1}" y2="{y + ROW - 2}" class="goal"/>'
            + text(max(label_x, goal + 6) if ours >= 1 else label_x, y + 14, f"{ours:.1f}×", "small", anchor))


def draw(rows, caption):
    parts, y, last = [], TOP, None
    for row in rows:
        for verdict in row.verdicts:
            if verdict.measured is None:
                continue
            if row.workload is not last:
                y += 6 if last else 0
                last = row.workload
                parts.append(text(8, y + 14, row.workload.title))
            against = "" if verdict.target.peer == "qsd" else f" · {verdict.target.peer}"
            parts.append(bar(y, verdict))
            parts.append(text(LEFT + WIDTH + 8, y + 14, WORDS[verdict.target.figure] + against, "small faint"))
            y += ROW
    bottom = y + 4
    grid = "".join(
        f'<line x1="{place(step):.1f}" x2="{place(step):.1f}" y1="{TOP - 8}" y2="{bottom}" '
        f'class="{"one" if step == 1 else "grid"}"/>'
        + text(place(step), TOP - 14, "as good" if step == 1 else f"{step:g}×" if step > 1 else f"1/{1 / step:g}",
               "small faint", "middle")
        for step in (1 / 4, 1 / 2, 1, 2, 4, 8))
    head = (text(8, 22, "How many times better than the peer: to the right is better", "title")
            + text(8, 40, f"{caption}. Against qemu-storage-daemon where no other peer is named; the black or white mark "
                          "is the target.", "small faint"))
    width, height = LEFT + WIDTH + 230, bottom + 8
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}"><style>{STYLE}</style><rect width="100%" height="100%" class="paper"/>'
            f"{head}{grid}{''.join(parts)}</svg>\n")
