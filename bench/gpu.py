"""minidl's kernels beside PyTorch's, cuDNN's and cuBLAS's on a GPU: `python -m bench gpu`.

As on the CPU (bench/versus.py) each row is made once for every library, from the same inputs and the same weights, and
timed only if all give the same numbers. Then they take turns, call by call: the device's own clock says how long it
works at a call, its cache cleared before, and the host's how long a call takes with all that comes before a launch.
"""
import statistics
from contextlib import ExitStack
from dataclasses import replace
from time import perf_counter

from minidl.kernels.gpu.launch import launching

from . import libraries_gpu, machine, rows, versus
from .cases_gpu import GROUPS, IMAGES
from .device import Launches, least
from .report_gpu import line

KINDS = "float16", "bfloat16", "float32", "tf32"
TOLERANCE = {"float16": 1e-2, "bfloat16": 6e-2, "float32": 2e-4, "tf32": 1e-2}     # of the largest value
SIZES = {"float16": 2, "bfloat16": 2, "float32": 4, "tf32": 4}                     # bytes
WARM = 3                               # calls of each that do not count
FEWEST, MOST = 5, 100                  # that do
WALL = 10                              # one after the other, for the host's clock
QUICK = 6                              # --quick: each 6th row of a group


def timed(device, calls, seconds):
    """{library's name: {"min", "median", "batches", "wall"}} in ms; they take turns."""
    times = {name: [] for name in calls}
    begun = perf_counter()
    for turn in range(WARM + MOST):
        if turn >= WARM + FEWEST and perf_counter() - begun > seconds:
            break
        for name in list(calls)[::-1 if turn % 2 else 1]:
            took = device.milliseconds(calls[name])
            if turn >= WARM:
                times[name].append(took)
    return {name: {"min": min(t), "median": statistics.median(t), "batches": len(t),
                   "wall": device.wall(calls[name], WALL)} for name, t in times.items()}


def moved(kind, arrays, outputs):
    """Bytes that a call has to move at least: what goes in, and what comes out (but not a module's weights)."""
    return sum([a.size * (SIZES[kind] if a.dtype.kind == "f" else a.itemsize) for a in (*arrays, *outputs)])


def measured(device, group, row, kind, libs, seconds):
    """A row's figures as a dict; one with an "error" where libraries fail or disagree."""
    about = {"group": group.name, "name": row.name, "variant": row.variant, "dtype": kind, "unit": "ms", "times": {}}
    with ExitStack() as stack:
        for lib in libs:
            stack.enter_context(lib.numbers())
            if not row.taped:
                stack.enter_context(lib.no_grad())
        try:
            arrays = row.inputs(versus.seeded(row))
            calls = versus.prepared(row, libs, arrays)
            with launching(Launches()) as launches:
                about["difference"] = versus.check(replace(row, tolerance=TOLERANCE[kind]), libs, calls)
            about["kernels"] = sorted({kernel for kernel, _ in launches.seen})
            about["times"] = timed(device, calls, seconds)
            found = calls["minidl"]()
            outputs = [libs[0].array(t) for t in (found if isinstance(found, tuple) else (found,))]
        except Exception as error:                     # (whatever a library raises: the other rows go on)
            return {**about, "times": {}, "error": f"{type(error).__name__}: {str(error):.200}"}
    took = about["times"]["minidl"]["median"] / 1e3
    bound = least(device.name, kind, row.flops, moved(kind, arrays, outputs))
    return {**about, **({"tflops": row.flops / took / 1e12} if row.flops else {}),
            **({"share": bound / took} if bound else {})}


def plan(only, kinds, quick):
    """[(group, row, dtype)] in the order in which they are measured."""
    return [(group, row, kind) for group, row in rows.chosen(GROUPS, only, QUICK if quick else 1) for kind in kinds]


def run(device, only=(), kinds=KINDS, quick=False, seconds=0.5, libraries=libraries_gpu.available, show=print):
    """Compare; the document that `--json` writes. Interrupted, it gives what there is."""
    document = {"suite": "gpu", **machine.header(), "machine": device.identity, "clocks": [device.clocks()], "rows": []}
    said, chosen = set(), plan(only, kinds, quick)
    try:
        for i, (group, row, kind) in enumerate(chosen):
            libs, missing = libraries(("minidl", *row.rivals), kind, group.name in IMAGES)
            document["versions"].update({lib.name: lib.version for lib in libs})
            for reason in set(missing) - said:
                show(f"{reason}: its column is left out.")
            said.update(missing)
            document["rows"].append(measured(device, group, row, kind, libs, seconds))
            show(f"{i + 1:4}/{len(chosen)} {line(document['rows'][-1])}")
            device.tidy()
    except KeyboardInterrupt:
        show("Interrupted: what follows is not all.")
    document["clocks"].append(device.clocks())
    return document
