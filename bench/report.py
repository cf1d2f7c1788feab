"""Files of results: put together, compared with each other, and as Markdown tables."""
import json
import math
import sys

LABELS = {"minidl": "minidl", "torch": "PyTorch", "torch_last": "PyTorch, channels last", "numpy": "NumPy"}
UNDER = " ▼"                       # marks what falls short
DISTURBED = 0.15                   # cores that other processes used while a row was measured: more say nothing


def read(path):
    """A file of results."""
    with open(path) as file:
        document = json.load(file)
    if "machine" not in document:
        sys.exit(f"bench: {path} does not say on which machine it was measured. Measure again.")
    return document


def merged(paths):
    """The rows of several runs on one machine as one document; of rows that are in several, the last."""
    documents = [read(path) for path in paths]
    refuse_mixed(documents, paths)
    rows = {key(row): row for document in documents for row in document["rows"]}
    threads = sorted({n for document in documents for n in document.get("threads", ())})
    return {**documents[-1], "threads": threads, "rows": list(rows.values())}


def refuse_mixed(documents, paths):
    """End with a message if they were measured on different machines."""
    for document, path in zip(documents, paths):
        if document["machine"] != documents[0]["machine"]:
            sys.exit(f"bench: {paths[0]} and {path} come from different machines, whose figures say nothing about each "
                     f"other: {documents[0]['machine']} and {document['machine']}.")


def key(row):
    """What makes a row the same in another file."""
    return row.get("group"), row["name"], row.get("variant"), row.get("threads", row.get("dtype"))


def compare(before, after, show=print):
    """Two files of rows, as ratios of medians."""
    documents = read(before), read(after)
    refuse_mixed(documents, (before, after))
    old, new = ({key(row): row for row in document["rows"]} for document in documents)
    for name in [name for name in old if name in new]:
        for rival in [rival for rival in old[name]["times"] if rival in new[name]["times"]]:
            x, y = (r[name]["times"][rival]["median"] for r in (old, new))
            label = " ".join(str(part) for part in name if part)
            show(f"{label:60} {rival:8} {x:10.3f} -> {y:10.3f} {old[name]['unit']}  x{y / x:.2f}")


def ratio(row, rival=None):
    """How many times as long as minidl this rival takes, or the quickest; None without rivals."""
    others = [t["median"] for name, t in row["times"].items() if name == rival or not rival and name != "minidl"]
    return min(others) / row["times"]["minidl"]["median"] if others else None


def disturbed(row):
    """Did other processes use the machine while this row was measured?"""
    return row.get("others", 0) > DISTURBED


def mean(ratios):
    """The geometric mean; None of none."""
    ratios = [r for r in ratios if r]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def _digits(x):
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def _times(found):
    return f"{_digits(found['min'])} / {_digits(found['median'])}" if found else ""


def _marked(text, fine):
    return text if fine else f"**{text}**{UNDER}"


def line(row):
    """A row for the screen."""
    name = f"{row['group']}/{row['name']} {row['variant']}"
    if "error" in row:
        return f"{name:60} {row['error']}"
    if "peak" in row:
        return f"{name:60} peak MiB  " + "  ".join(f"{n} {p['all']:.0f}" for n, p in row["peak"].items())
    times = "  ".join(f"{n} {_times(t)}" for n, t in row["times"].items())
    share = f"  {row['share']:.0%}" if "share" in row else ""
    times_as_fast = f"  {ratio(row):.2f}x" if ratio(row) else ""
    times_as_fast += f"  disturbed: others used {row['others']:.1f} cores" if disturbed(row) else ""
    return f"{name:60} {row['threads']}t  {times} ms{share}{times_as_fast}"


def table(group, document):
    """A group's rows as Markdown, a line per row, and what is said about them: [text]."""
    rows = [row for row in document["rows"] if row["group"] == group.name]
    timed = [row for row in rows if row["times"]]
    if not rows:
        return []
    names = list(dict.fromkeys(name for row in timed for name in row["times"]))
    threads, shares = document["threads"], any("share" in row for row in timed)
    heads = [LABELS[name] for name in names] + ["ratio"] + ["of limit"] * shares
    said = [f"### {group.title}", "", f"Wanted: {group.goal}." if group.goal else "", "",
            "| ms | " + " | ".join(f"{head}, {n}t" for n in threads for head in heads) + " |",
            "|---" * (1 + len(heads) * len(threads)) + "|"]
    for name, variant in dict.fromkeys((row["name"], row["variant"]) for row in timed):
        cells = [f"{name} {variant}"]
        for n in threads:
            row = next((r for r in timed if (r["name"], r["variant"], r["threads"]) == (name, variant, n)), None)
            cells += _cells(row, names, shares, group.least) if row else [""] * len(heads)
        said.append(f"| {' | '.join(cells)} |")
    said += ["", *_means(group, timed, threads), *_peaks(rows), *_errors(rows)]
    return said


def _cells(row, names, shares, least):
    found, share, wanted = ratio(row), row.get("share"), row.get("share wanted", 0)
    cells = [_times(row["times"].get(name)) for name in names]
    cells.append("disturbed" if disturbed(row) else
                 _marked(f"{found:.2f}", round(found, 2) >= (least or 0)) if found else "")
    return cells + [_marked(f"{share:.0%}", round(share, 2) >= wanted) if share else ""] * shares


def _means(group, rows, threads):
    """A paragraph per number of threads: geometric means over all rows, each variant's, and each rival's."""
    said = []
    for n in threads:
        of = [row for row in rows if row["threads"] == n and ratio(row) and not disturbed(row)]
        if not of:
            continue
        whole = mean(map(ratio, of))
        parts = [f"{v} {mean(ratio(row) for row in of if row['variant'] == v):.2f}"
                 for v in dict.fromkeys(row["variant"] for row in of)]
        rivals = [name for name in of[0]["times"] if name != "minidl"]
        parts += [f"to {LABELS[name]} {mean(ratio(row, name) for row in of):.2f}" for name in rivals if len(rivals) > 1]
        under = sum(round(ratio(row), 2) < (group.least or 0) for row in of)
        under = f"; {under} of {len(of)} rows under {group.least}" if group.least else ""
        whole = _marked(f"{whole:.2f}", round(whole, 2) >= (group.mean or 0))
        said.append(f"{n} thread{'s' * (n > 1)}: geometric mean {whole} ({', '.join(parts)}){under}.\n")
    return said


def _peaks(rows):
    """The table of memory, if there is one."""
    rows = [row for row in rows if "peak" in row]
    if not rows:
        return []
    names = list(rows[0]["peak"])
    said = ["| peak memory of the process, MiB (of them imports) | " + " | ".join(map(LABELS.get, names)) + " |",
            "|---" * (1 + len(names)) + "|"]
    for row in rows:
        most = min(p["all"] for p in row["peak"].values())
        cells = [_marked(f"{p['all']:.0f} ({p['imports']:.0f})", name != "minidl" or p["all"] <= most)
                 for name, p in row["peak"].items()]
        said.append(f"| {row['name']} | {' | '.join(cells)} |")
    return [*said, ""]


def _errors(rows):
    return list(dict.fromkeys(f"- {row['name']} {row['variant']}: {row['error']}" for row in rows if "error" in row))


def markdown(groups, document):
    """All tables, under a line about the run."""
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    where = document["machine"]
    said = [f"{where['processor']}, {where['cores']} cores, {where['isa']}; {versions}; {document['date']}. "
            f"Minimum / median, ms; ratios are of medians, to the quickest rival; {UNDER.strip()} falls short.", ""]
    return "\n".join([*said, *[text for group in groups for text in table(group, document)]])
