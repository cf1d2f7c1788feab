"""What was measured on a GPU, for the screen and as Markdown tables."""
from .report import LABELS, mean, ratio

WIDTH = 60                             # of the names, when shown


def _digits(x):
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def name(row):
    """A row's, with its dtype."""
    return f"{row['name']} {row['variant']} {row['dtype']}"


def line(row):
    """A row for the screen."""
    where = f"{row['group']}/{name(row)}"
    if "error" in row:
        return f"{where:{WIDTH}} {row['error']}"
    times = "  ".join(f"{n} {_digits(t['min'])} / {_digits(t['median'])}" for n, t in row["times"].items())
    rate = f"  {row['tflops']:.3g} TFLOP/s" if "tflops" in row else ""
    share = f"  {row['share']:.0%}" if "share" in row else ""
    alone = "" if row["kernels"] else "  no kernel of ours"
    return f"{where:{WIDTH}} {times} ms{rate}{share}{f'  {ratio(row):.2f}x' if ratio(row) else ''}{alone}"


def table(group, rows):
    """A group's rows as Markdown: [text]."""
    timed = [row for row in rows if row["group"] == group.name and row["times"]]
    failed = [f"- {name(row)}: {row['error']}" for row in rows if row["group"] == group.name and "error" in row]
    if not timed:
        return [f"### {group.title}", "", *failed, ""] if failed else []
    names = list(dict.fromkeys(n for row in timed for n in row["times"]))
    heads = ["ms", *map(LABELS.get, names), "ratio", "TFLOP/s", "of roofline", *[f"{LABELS[n]}, wall" for n in names]]
    said = [f"### {group.title}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in timed:
        found = [row["times"].get(n) for n in names]
        alone = "" if row["kernels"] else " (no kernel of ours)"
        cells = [name(row) + alone, *[f"{_digits(t['min'])} / {_digits(t['median'])}" if t else "" for t in found],
                 f"{ratio(row):.2f}" if ratio(row) else "", f"{row['tflops']:.3g}" if "tflops" in row else "",
                 f"{row['share']:.0%}" if "share" in row else "", *[_digits(t["wall"]) if t else "" for t in found]]
        said.append(f"| {' | '.join(cells)} |")
    return [*said, "", *_means(timed), "", *failed]


def _means(rows):
    """A line of geometric means of ratios, by dtype."""
    parts = [f"{kind} {found:.2f}" for kind in dict.fromkeys(row["dtype"] for row in rows)
             if (found := mean([ratio(row) for row in rows if row["dtype"] == kind]))]
    return [f"Geometric mean of the ratios: {', '.join(parts)}."] if parts else []


def markdown(groups, document):
    """All tables, under a line about the run."""
    where, versions = document["machine"], ", ".join(f"{n} {v}" for n, v in document["versions"].items())
    clocks = "; ".join(", ".join(f"{n} {v}" for n, v in found.items()) for found in document["clocks"] if found)
    what = f"{where['processor']}, {where['cores']} multiprocessors, {where['isa']}, cache {where['cache'] >> 20} MiB"
    said = [f"{what}; {versions}; {document['date']}. Before and after: {clocks or 'clocks are not known'}.", "",
            "Minimum / median of the device's time, ms, its cache cleared before each call; wall: the host's time, one "
            "call after the other; ratios are of medians, to the quickest rival.", ""]
    return "\n".join([*said, *[text for group in groups for text in table(group, document["rows"])]])
