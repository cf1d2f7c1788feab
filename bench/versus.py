"""minidl against its rivals: `python -m bench compare torch`.

Each row is made once for every library, from the same inputs and the same weights, and only timed if all give the same
numbers.  Then they take turns, and rest in between for as long as their threads go on spinning.
"""
import json
import os
import subprocess
import sys
import time
import zlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from . import harness, libraries, machine, report, rows
from .cases import GROUPS

TRIES = 3                          # of a row, while other processes use the machine
QUICK = 4                          # --quick: each 4th row of a group, for a 4th of the time


class Disagreement(Exception):
    """Libraries gave different numbers."""


def seeded(row):
    """What a row's inputs are drawn from."""
    return np.random.default_rng(zlib.crc32(row.name.encode()))


def prepared(row, libs, arrays=None):
    """{library's name: call}; modules hold the values that the first library drew."""
    arrays = row.inputs(seeded(row)) if arrays is None else arrays
    calls, state = {}, None
    for lib in libs:
        module = row.module and lib.placed(row.module(lib))
        if module and state is None:
            held = row.state(lib, module) if row.state else lib.state(module)
            state = {name: array.copy() for name, array in held.items()}
        elif module:
            lib.load(module, state)
        calls[lib.name] = row.prepare(lib, module, arrays)
    return calls


def check(row, libs, calls):
    """The largest difference between libraries, over the largest value of each output.

    Raises:
        Disagreement: it is more than the row allows.
    """
    worst = 0.0
    for _ in range(row.calls):
        outputs = []
        for lib in libs:
            found = calls[lib.name]()
            outputs.append([lib.array(t) for t in (found if isinstance(found, tuple) else (found,))])
        for ours, *theirs in zip(*outputs):
            for other in theirs:
                if ours.shape != other.shape:
                    raise Disagreement(f"{ours.shape} is not {other.shape}")
                error = float(np.abs(ours - other).max() / max(np.abs(other).max(), 1e-30))
                if not error <= row.tolerance:
                    raise Disagreement(f"the libraries differ by {error:.1e} of the largest value")
                worst = max(worst, error)
    return worst


def settle(window=0.006, most=50):
    """Wait until no thread of this process works: some libraries' go on spinning for 0.1 s after a call.

    (The clock of threads that run on other cores moves in steps of up to 4 ms.)
    """
    for _ in range(most):
        before = time.process_time()
        time.sleep(window)
        if time.process_time() - before < window / 4:
            return


def timed(row, libs, calls, threads, seconds):
    """{library's name: {"min", "median", "batches"}} in ms, and how many cores others used meanwhile.

    Measured again while that is too many, at most TRIES times; the least disturbed counts.
    """
    for lib in libs:
        lib.set_num_threads(threads)
    setup = {name: settle for name in calls} if threads > 1 else {}
    tries = []
    for _ in range(TRIES):
        wall, all_of_us, own = time.perf_counter(), machine.busy(), time.process_time()
        times = harness.measure(harness.Case(row.name, calls, 0, "ms", setup), seconds=seconds)
        others = machine.busy() - all_of_us - (time.process_time() - own)
        tries.append((max(others, 0.0) / (time.perf_counter() - wall), times))
        if tries[-1][0] <= report.DISTURBED:
            break
    others, times = min(tries, key=lambda found: found[0])
    return times, others


def peaks(group, row, libs, threads):
    """{library's name: MiB} that a process of its own takes for some steps, at most."""
    found = {}
    for lib in libs:
        command = [sys.executable, "-m", "bench", "peak", rows.path(group, row), lib.name, str(threads)]
        found[lib.name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def peak(name, library, threads, steps=3):
    """What `peaks` runs in such a process: {"all": MiB, "imports": MiB of them before the row was made}."""
    (_, row), = rows.chosen(GROUPS, [name])
    (lib,), _ = libraries.available([library])
    lib.set_num_threads(threads)
    imports = _high_water()
    call = row.prepare(lib, row.module(lib), row.inputs(np.random.default_rng(0)))
    for _ in range(steps):
        call()
    return {"all": _high_water(), "imports": imports}


def _high_water():
    """The most memory that this process had so far, MiB. (getrusage's would count the parent's before exec.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measured(group, row, libs, threads, seconds):
    """Yields a dict per number of threads; one with an "error" where the libraries fail or disagree."""
    about = {"group": group.name, "name": row.name, "variant": row.variant, "unit": "ms"}
    with ExitStack() as stack:
        for lib in libs if not row.taped else ():
            stack.enter_context(lib.no_grad())
        stack.enter_context(row.context())
        try:
            calls = prepared(row, libs)
            about["difference"] = check(row, libs, calls)
        except Exception as error:                     # (whatever a library raises: the other rows go on)
            yield from ({**about, "threads": n, "times": {}, "error": f"{type(error).__name__}: {str(error):.200}"}
                        for n in threads)
            return
        for n in threads:
            times, others = timed(row, libs, calls, n, seconds)
            found = {**about, "threads": n, "times": times, "others": others}
            if limit := machine.reading(row.reads, n) if row.reads else row.flops and machine.multiply_adds(n):
                found["share"] = (row.reads or row.flops) / limit / found["times"]["minidl"]["median"] * 1e3
            if row.share:
                found["share wanted"] = row.share
            yield found
        if row.memory:
            yield {**about, "threads": 0, "times": {}, "peak": peaks(group, row, libs, max(threads))}


def run(only=(), threads=(1, 2), quick=False, seconds=0.25, show=print):
    """Compare; the document that `--json` writes.  Interrupted, it gives what there is."""
    libs, missing = libraries.available(["minidl", "torch", "numpy"])
    for label in missing:
        show(f"{label} is not installed: its column is left out.")
    for lib in libs:
        lib.season()
    document = {"suite": "compare torch", **machine.header(libs), "threads": list(threads), "rows": []}
    chosen = rows.chosen(GROUPS, only, QUICK if quick else 1)
    try:
        for i, (group, row) in enumerate(chosen):
            rivals = [lib for lib in libs if lib.name in ("minidl", *row.rivals)]
            for found in measured(group, row, rivals, threads, seconds / (QUICK if quick else 1)):
                document["rows"].append(found)
                show(f"{i + 1:4}/{len(chosen)} {report.line(found)}")
    except KeyboardInterrupt:
        show("Interrupted: what follows is not all.")
    return document


def plan(threads):
    """Numbers of threads as asked for, `1,2`; those that the machine has."""
    return tuple(n for n in map(int, threads.split(",")) if n <= os.cpu_count())
