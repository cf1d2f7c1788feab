"""How things are timed: rivals take turns, batch by batch, in one process; medians and minima are kept.

A busy machine then slows all of them alike, and what is reported is a ratio.
"""
import json
import statistics
from dataclasses import dataclass, field
from time import perf_counter


@dataclass
class Case:
    """One row: the same work by several rivals; `rivals` maps a name to a call without arguments."""

    name: str
    rivals: dict
    number: int = 1                # calls per batch
    unit: str = "us"
    setup: dict = field(default_factory=dict)      # rival -> run before each batch, untimed


WIDTH = 50                         # of the names, when shown
SCALE = {"us": 1e6, "ms": 1e3, "s": 1.0}


def measure(case, batches=15):
    """{rival: {"min": ..., "median": ...}} per call, in the case's unit."""
    times = {name: [] for name in case.rivals}
    for batch in range(batches + 1):
        for name, call in case.rivals.items():
            case.setup.get(name, lambda: None)()
            repeat = range(case.number)
            start = perf_counter()
            for _ in repeat:
                call()
            if batch:                                  # the first one warms up
                times[name].append((perf_counter() - start) / case.number * SCALE[case.unit])
    return {name: {"min": min(t), "median": statistics.median(t)} for name, t in times.items()}


def run(cases, batches=15, show=print):
    """Measure all cases, showing each row as it comes; [{"name", "unit", "times"}]."""
    rows = []
    for case in cases:
        times = measure(case, batches)
        rows.append({"name": case.name, "unit": case.unit, "times": times})
        columns = [f"{n} {t['min']:9.3f} / {t['median']:9.3f}" for n, t in times.items()]
        show(f"{case.name:{WIDTH}}{'  '.join(columns)} {case.unit}")
    return rows


def compare(before, after, show=print):
    """Two files of rows, as ratios of medians."""
    with open(before) as a, open(after) as b:
        old, new = ({r["name"]: r for r in json.load(f)} for f in (a, b))
    for name in [name for name in old if name in new]:
        for rival in [rival for rival in old[name]["times"] if rival in new[name]["times"]]:
            x, y = (r[name]["times"][rival]["median"] for r in (old, new))
            show(f"{name:{WIDTH}} {rival:12} {x:10.3f} -> {y:10.3f} {old[name]['unit']}  x{y / x:.2f}")
