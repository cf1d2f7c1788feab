"""Ratios by row as a picture, a panel per group."""
import itertools

import matplotlib
from matplotlib import pyplot

from .report import disturbed, mean, ratio

COLOURS = "tab:blue", "tab:orange", "tab:green", "tab:red"             # by the number of threads, or the dtype
SHAPES = "o^sDvP<>"                # by the variant
LINE, FRAME, WIDTH = 0.16, 0.75, 8.5           # inches: of a row's height, of what surrounds a panel, of a column
TICKS = (0.125, 0.25, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 8, 16, 32)


def plot(groups, document, path):
    """Draw a document's rows, and write the picture to `path`."""
    matplotlib.use("Agg")
    drawn = [row for row in document["rows"] if row["times"] and ratio(row) and not disturbed(row)]
    rows = {group.name: [row for row in drawn if row["group"] == group.name] for group in groups}
    groups = [group for group in groups if rows[group.name]]
    colours = dict(zip(sorted(set(map(_series, drawn))), itertools.cycle(COLOURS)))
    names = {group.name: list(dict.fromkeys(row["name"] for row in rows[group.name])) for group in groups}
    heights = {group.name: LINE * max(len(names[group.name]), 7) + FRAME for group in groups}
    columns = _columns(groups, heights)
    tall = max(sum(heights[group.name] for group in column) for column in columns)
    figure = pyplot.figure(figsize=(WIDTH * len(columns), tall), layout="constrained")
    ratios = [ratio(row) for group in groups for row in rows[group.name]]
    limits = min(0.9, *ratios) / 1.05, max(*map(_wanted, groups), *ratios, 1.5) * 1.05
    for part, column in zip(figure.subfigures(1, len(columns), squeeze=False)[0], columns):
        parts = [heights[group.name] for group in column]
        filler = [tall - sum(parts)] if tall - sum(parts) > FRAME else []
        grid = part.add_gridspec(len(parts + filler), 1, height_ratios=parts + filler)
        for spot, group in zip(grid, column):
            axes = part.add_subplot(spot)
            _panel(axes, group, rows[group.name], names[group.name], colours)
            axes.set_xlim(limits)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _columns(groups, heights):
    """The groups in two columns about equally tall: the tallest first, each where there is less."""
    columns, tall = [[], []], [0, 0]
    for group in sorted(groups, key=lambda group: -heights[group.name]):
        at = tall.index(min(tall))
        columns[at].append(group)
        tall[at] += heights[group.name]
    return [sorted(column, key=groups.index) for column in columns if column]


def _wanted(group):
    """The ratio that is drawn as a line."""
    return group.mean or group.least or 1


def _series(row):
    """What a row's colour stands for."""
    return row["dtype"] if "dtype" in row else f"{row['threads']} thread{'s' * (row['threads'] > 1)}"


def _panel(axes, group, rows, names, colours):
    """One group: a mark per row, its colour the number of threads or the dtype, its shape the variant."""
    shapes = dict(zip(dict.fromkeys(row["variant"] for row in rows), SHAPES))
    for row in rows:
        axes.plot(ratio(row), names.index(row["name"]), shapes[row["variant"]], markersize=4, alpha=0.75,
                  color=colours[_series(row)])
    for variant, shape in shapes.items():
        axes.plot([], [], shape, color="grey", markersize=4, label=variant)
    for series in dict.fromkeys(map(_series, rows)):
        whole = mean(ratio(row) for row in rows if _series(row) == series)
        axes.plot([], [], color=colours[series], label=f"{series}: mean {whole:.2f}")
    axes.axvline(1, color="black", linewidth=0.8)
    wanted = _wanted(group)
    if wanted != 1:
        axes.axvline(wanted, color="tab:green", linewidth=1, linestyle="--", label=f"wanted: {wanted:g}")
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], fontsize=7)
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.grid(alpha=0.3)
    axes.set_title(f"{group.title}: times as fast as the quickest rival", fontsize=9, loc="left")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0)
