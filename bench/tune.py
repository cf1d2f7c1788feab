"""Which configs of Triton kernels are the quickest on this GPU: `python -m bench gpu --tune matmul correlate`.

A kernel's candidates (bench/candidates.json: every combination of the values there) are compiled from the sources,
checked against the config that is in use, and timed in the rows of `bench gpu` that launch the kernel. What is best
over a key's rows is said, and with `--write` goes into kernels/triton/configs.json, for review.
"""
import json
import math
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from importlib import import_module
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from minidl.kernels.gpu.launch import launching
from minidl.kernels.gpu.library import Entry

from . import gpu, libraries_gpu, rows, versus
from .device import Launches

CANDIDATES = json.loads(Path(__file__).with_name("candidates.json").read_text())
LAUNCH = "num_warps", "num_stages"
CALLS = 7                              # timed of each candidate in a row; the first warms up
SHOWN = 3                              # of a key's candidates


# -- candidates ----------------------------------------------------------------------------

@cache
def library():
    """The module kernels.library, of the sources."""
    return import_module("kernels.library")


@cache
def places(kernel):
    """{key: (family, number)} of a Triton kernel's variants, in the sources."""
    return {frozenset(v.key.items()): (family, number) for family in library().compiler("triton").families()
            for number, v in enumerate(library().variants("triton", family)) if v.kernel == kernel}


def combinations(kernel):
    """[{constant: value}] of a kernel."""
    space = CANDIDATES[kernel]
    return [dict(zip(space, values)) for values in product(*space.values())]


def compiled(place, values, target):
    """(what the manifest says of a variant with these values, what was compiled for a target), or why it cannot be."""
    family, number = place
    variant = library().variants("triton", family)[number]
    constants = {n: v for n, v in values.items() if n not in LAUNCH}
    variant = replace(variant, constants={**variant.constants, **constants},
                      **{n: values[n] for n in LAUNCH if n in values})
    try:
        made = library().compiler("triton").compiled(variant, target)
    except Exception as error:                         # (whatever the compiler says of shapes that it cannot make)
        return f"{type(error).__name__}: {str(error):.100}"
    if library().resources(made["cubin"])[made["symbol"]].get("spills"):
        return "registers are spilled"
    return library().record(variant), made


def all_compiled(place, chosen, target, jobs):
    """[(values, record, made)] of those that can be; in so many processes."""
    pool = nullcontext() if jobs == 1 else ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    with pool as running:
        made = list((running.map if running else map)(compiled, *zip(*[(place, values, target) for values in chosen])))
    return [(values, *found) for values, found in zip(chosen, made) if not isinstance(found, str)]


# -- measured ------------------------------------------------------------------------------

def _outputs(lib, call):
    found = call()
    return [lib.array(t) for t in (found if isinstance(found, tuple) else (found,))]


def _agree(wanted, found, tolerance):
    return all([np.abs(a - b).max(initial=0) <= tolerance * max(np.abs(a).max(initial=0), 1e-30)
                for a, b in zip(wanted, found)])


def _seconds(device, call):
    return statistics.median([device.milliseconds(call) for _ in range(CALLS)][1:]) / 1e3


class Tuner:
    """Candidates of kernels on a device, and how much quicker than the configs in use they are, by key and row."""

    def __init__(self, device, kernels, jobs=None, chosen=combinations, show=print):
        self.device, self.kernels, self.jobs, self.chosen, self.show = device, kernels, jobs, chosen, show
        self.target, self.launcher = "sm_{}{}".format(*device.capability), Launches()
        self.made = {}                                 # (kernel, key) -> [(values, entry)]
        self.gains = {}                                # (kernel, key) -> {candidate's number: [ratio in each row]}

    def candidates(self, place):
        """[(values, entry)] of a key, compiled once and loaded."""
        if place not in self.made:
            kernel, key = place
            found = all_compiled(places(kernel)[key], self.chosen(kernel), self.target, self.jobs)
            self.made[place] = []
            for values, record, made in found:
                entry = Entry(**record)
                try:
                    self.launcher.base.load(entry, made)
                except Exception as error:             # (more shared memory than this device has)
                    self.show(f"  {values}: {str(error):.100}")
                    continue
                self.made[place].append((values, entry))
        return self.made[place]

    def row(self, group, row, kind):
        """Try all candidates of the kernels that a row launches."""
        lib = libraries_gpu.MiniDL(kind, group.name in gpu.IMAGES)
        with launching(self.launcher), lib.numbers(), lib.no_grad() if not row.taped else nullcontext():
            call = versus.prepared(row, [lib])["minidl"]
            self.launcher.seen.clear()
            wanted = _outputs(lib, call)
            for place in [p for p, entry in self.launcher.seen.items()
                          if p[0] in self.kernels and entry.maker == "triton"]:
                self._try(lib, call, wanted, place, gpu.TOLERANCE[kind])
                self.show(f"{rows.path(group, row)} {kind}: {self._said(place)}")
        self.device.tidy()

    def _try(self, lib, call, wanted, place, tolerance):
        before, gains = _seconds(self.device, call), self.gains.setdefault(place, {})
        for number, (values, entry) in enumerate(self.candidates(place)):
            self.launcher.own = {place: entry}
            try:
                fine = _agree(wanted, _outputs(lib, call), tolerance)
                took = _seconds(self.device, call) if fine else math.inf
            except Exception as error:                 # (it does not fit this device)
                fine, took = True, math.inf
                self.show(f"  {values}: {str(error):.100}")
            if not fine:
                self.show(f"  {values}: other numbers than the config in use gives. That is a bug.")
            gains.setdefault(number, []).append(before / took)
        self.launcher.own = {}

    def best(self, place):
        """[(how many times as fast as the config in use, values)] of a key, the quickest first."""
        found = [(math.exp(sum(map(math.log, gains)) / len(gains)) if all(gains) else 0.0, self.made[place][number][0])
                 for number, gains in self.gains[place].items()]
        return sorted(found, key=lambda pair: -pair[0])

    def _said(self, place):
        kernel, key = place
        return f"{kernel} {row_name(key)}: " + ", ".join(f"{gain:.2f}x {values}" for gain, values in
                                                         self.best(place)[:SHOWN])


# -- configs.json ----------------------------------------------------------------------------

def row_name(key):
    """The row of configs.json that holds for a key alone."""
    return " ".join(f"{name}={str(value).lower()}" for name, value in sorted(key))


def written(configs):
    """The text of configs.json."""
    parts = []
    for kernel, found in configs.items():
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(values)}" for name, values in found.items())
        parts.append(f"  {json.dumps(kernel)}: {{\n{lines}\n  }}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def updated(configs, best, least=1.02):
    """Configs with the best of each key, {(kernel, key): (gain, values)}, where that is more than noise."""
    found = {kernel: dict(of_kernel) for kernel, of_kernel in configs.items()}
    for (kernel, key), (gain, values) in best.items():
        if gain >= least:
            found[kernel][row_name(key)] = values
    return found


def run(device, kernels, only=(), kinds=gpu.KINDS, quick=False, write=False, show=print, **more):
    """Tune kernels; {(kernel, key): (gain, values)}. `write`: into configs.json, too."""
    unknown = [kernel for kernel in kernels if kernel not in CANDIDATES]
    if unknown:
        raise SystemExit(f"bench gpu: no candidates for {', '.join(unknown)}: there are some for "
                         f"{', '.join(CANDIDATES)}.")
    tuner = Tuner(device, kernels, show=show, **more)
    for group, row, kind in gpu.plan(only, kinds, quick):
        tuner.row(group, row, kind)
    best = {place: tuner.best(place)[0] for place in tuner.gains if tuner.gains[place]}
    show("The best of each key, and how many times as fast as the config in use:")
    for (kernel, key), (gain, values) in best.items():
        show(f"{gain:6.2f}x  {kernel} {row_name(key)}: {values}")
    if write:
        path = library().compiler("triton").FOLDER / "configs.json"
        path.write_text(written(updated(json.loads(path.read_text()), best)))
        show(f"Written to {path}. Build again, run the tests, and look at the difference before it is committed.")
    return best
