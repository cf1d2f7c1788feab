"""How things are timed: rivals take turns, batch by batch, in one process; medians and minima are kept.

A busy machine then slows all of them alike, and what is reported is a ratio.
"""
import gc
import statistics
from dataclasses import dataclass, field
from time import perf_counter

BATCH = 0.01                       # seconds that a batch takes at least, where a case leaves its number open
FEWEST, MOST = 3, 40               # batches, where time decides how many
WAKE = 10                          # before a batch, a tenth of its calls go untimed


@dataclass
class Case:
    """One row: the same work by several rivals; `rivals` maps a name to a call without arguments."""

    name: str
    rivals: dict
    number: int = 1                # calls per batch; 0: as many as fill BATCH
    unit: str = "us"
    setup: dict = field(default_factory=dict)      # rival -> run before each batch, untimed


WIDTH = 50                         # of the names, when shown
SCALE = {"us": 1e6, "ms": 1e3, "s": 1.0}


def seconds_of(call, number=1):
    """What so many calls take, one after the other."""
    repeat = range(number)
    start = perf_counter()
    for _ in repeat:
        call()
    return perf_counter() - start


def measure(case, batches=15, seconds=None):
    """{rival: {"min": ..., "median": ..., "batches": ...}} per call, in the case's unit.

    With `seconds`, batches end once they have taken as long, and are at least FEWEST, at most MOST.  Calls that are not
    timed go before each batch of several: after `setup`, caches and threads are not what they are in a loop.
    """
    batches = MOST if seconds else batches
    numbers = {name: case.number or max(1, round(BATCH / seconds_of(call))) for name, call in case.rivals.items()}
    times = {name: [] for name in case.rivals}
    gc.collect()
    gc.disable()
    spent = 0.0
    for batch in range(batches + 1):
        if seconds and batch > FEWEST and spent > seconds:
            break
        for name, call in [*case.rivals.items()][::-1 if batch % 2 else 1]:
            case.setup.get(name, lambda: None)()
            if numbers[name] > 1:
                seconds_of(call, numbers[name] // WAKE + 1)
            took = seconds_of(call, numbers[name])
            spent += took
            if batch:                                  # the first one warms up
                times[name].append(took / numbers[name] * SCALE[case.unit])
    gc.enable()
    return {name: {"min": min(t), "median": statistics.median(t), "batches": len(t)} for name, t in times.items()}


def shown(name, times, unit):
    """A row for the screen."""
    columns = [f"{n} {t['min']:9.3f} / {t['median']:9.3f}" for n, t in times.items()]
    return f"{name:{WIDTH}}{'  '.join(columns)} {unit}"


def run(cases, batches=15, show=print):
    """Measure all cases, showing each row as it comes; [{"name", "unit", "times"}]."""
    rows = []
    for case in cases:
        times = measure(case, batches)
        rows.append({"name": case.name, "unit": case.unit, "times": times})
        show(shown(case.name, times, case.unit))
    return rows
