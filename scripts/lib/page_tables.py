"""Tables that a script keeps on a page."""


def record(page, tables):
    """Puts each table in the place of the page's that begins with the same line."""
    lines = page.read_text().split("\n")
    for table in tables:
        start = end = lines.index(table[0])
        while lines[end].startswith("|"):
            end += 1
        lines[start:end] = table
    new = page.with_name(page.name + ".new")
    new.write_text("\n".join(lines))
    new.rename(page)
