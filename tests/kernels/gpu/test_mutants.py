"""The checks of kernels for GPUs have teeth: each slip in mutants.py is noticed, by what is said there."""
import re
import shutil
import sys
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from mutants import COMPILED, SAME, SLIPS
from sizes import cases
from test_cuda_shapes import CASES as AWKWARD
from test_steps import RULES, check_steps

from minidl import simt
from minidl.dispatch import TABLE
from minidl.kernels.gpu.launch import launching
from minidl.op import REGISTRY
from minidl.testing.cupy_double import installed
from minidl.testing.kernelcheck import Expectation, reason
from minidl.testing.simulated import TARGET, Simulated, sources

LIMIT = 1_000_000                                      # instructions, after which a mutant is said to hang


class Mutant(NamedTuple):
    """One slip in one source."""

    file: str
    op: str
    dtype: str
    where: str
    before: str
    after: str
    noticed: str

    maker = property(lambda self: self.file.partition("/")[0])
    name = property(lambda self: self.file.partition("/")[2])
    is_of_ptx = property(lambda self: self.file.endswith(".ptx"))

    def __str__(self):
        return re.sub(r"\s+", " ", f"{self.file} {self.where}: {self.before} > {self.after or 'nothing'}")

    def write(self, folder):
        """The maker's sources with the slip; those of CUDA only for its dtype, which is quicker."""
        shutil.copytree(sources().compiler(self.maker).FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
        if self.is_of_ptx:
            return
        text = (folder / self.name).read_text()
        start = text.find(self.before, text.find(self.where))
        assert self.where in text and start > 0, f"{self.file} has changed: no {self.before!r} behind {self.where!r}"
        (folder / self.name).write_text(text[:start] + self.after + text[start + len(self.before):])
        others = re.compile(rf"^\w+\((?!{self.dtype}\b)\w*(?:float|tf)\d+, .*\)$", re.M)
        for path in folder.glob("*.cu"):
            path.write_text(others.sub("", path.read_text()))

    def module(self, ptx):
        """What a compiler made of the sources, with the slip, where it is one of what compilers make."""
        return simt.Module(re.sub(self.before, self.after, ptx) if self.is_of_ptx else ptx)


def mutants(table):
    return [Mutant(*place, *("", *slip)[-4:]) for place, slips in table.items() for slip in slips]


@contextmanager
def package(name, folder):
    """`with package("other", folder):` the folder's modules can be imported from there inside the block."""
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations.append(str(folder))
    sys.modules[name] = module_from_spec(spec)
    try:
        yield name
    finally:
        for found in [m for m in sys.modules if m.partition(".")[0] == name]:
            del sys.modules[found]


class Mutated(Simulated):
    """Runs what is made of a mutant's source with every check, and other kernels without."""

    def __init__(self, mutant, folder):
        super().__init__(limit=LIMIT)
        self.mutant, self.folder, self.compiler = mutant, folder, sources().compiler(mutant.maker)
        mutant.write(folder)
        with package("mutated", folder):
            families = self.compiler.families() if mutant.maker == "cuda" else [Path(mutant.name).stem]
            found = [v for f in families for v in import_module(f"mutated.{f}").variants() if self._changed(v)]
        self.variants = {(v.kernel, frozenset(v.key.items())): v for v in found}
        self.loaded, self.module = cache(self._loaded), cache(self._module)

    def _changed(self, variant):
        if variant.maker == "triton":
            return True
        others = self.mutant.name.endswith(".cu") and variant.source != self.mutant.name
        return not others and variant.key["dtype"] == self.mutant.dtype

    def variant(self, entry):
        """An entry's variant in the mutant's source; None, where it has none."""
        return self.variants.get((entry.kernel, frozenset(entry.key.items())))

    def _loaded(self, entry):
        variant = self.variant(entry)
        if variant is None:
            return super().loaded(entry)
        if variant.maker == "triton":
            made = self.compiler.compiled(variant, TARGET, binary=False)
            return made, entry.bound(made), self.mutant.module(made["ptx"])
        made, bound, _ = super().loaded(entry)
        return made, bound, self.module(variant.source)

    def _module(self, source):
        return self.mutant.module(self.compiler.compiled_source(self.folder / source, TARGET, binary=False)[0])

    def run(self, entry, grid, args):
        if self.variant(entry):
            return super().run(entry, grid, args)
        with self.unchecked():
            super().run(entry, grid, args)


@cache
def expectations(op, dtype):
    """[(case, what is expected)] of an op, the small ones first."""
    awkward = [case for name, *case in AWKWARD.values() if name == op]
    found = sorted([*cases(REGISTRY[op]), *awkward], key=lambda case: sum(getattr(a, "size", 0) for a in case[0]))
    return [(case, Expectation(REGISTRY[op], *case, dtype)) for case in found]


def check(mutant, most):
    """All that tests do with what a mutant changes, of the op's cases the `most` smallest."""
    if mutant.op == "adam":
        for rule in RULES:
            check_steps(*rule, mutant.dtype)
        return
    kernel, = [k for k in TABLE[mutant.op, "cuda"] if k.maker == mutant.maker]
    for case, wanted in expectations(mutant.op, mutant.dtype)[:most]:
        if reason(kernel, REGISTRY[mutant.op], *case, mutant.dtype) is None:
            wanted.compare(kernel, wanted.by(kernel))


def noticed(mutant, folder, most=None):
    """What notices a mutant: "race", "fault", "unwritten", "values"; or None."""
    with installed(), launching(Mutated(mutant, folder)) as launcher, np.errstate(all="ignore"):
        try:
            check(mutant, most)
        except simt.Fault:
            return "fault"
        except AssertionError:
            last = launcher.results[-1][1]
            return "race" if last.races else "unwritten" if last.warnings else "values"
        assert any(launcher.variant(entry) for entry, _ in launcher.results), "it was never run"


@pytest.mark.parametrize("mutant", mutants(SLIPS) + mutants(COMPILED), ids=str)
def test_a_slip_is_noticed(mutant, tmp_path):
    assert noticed(mutant, tmp_path / "sources") in mutant.noticed.split(" or ")


@pytest.mark.parametrize("mutant", mutants(SAME), ids=str)
def test_what_changes_nothing_is_not(mutant, tmp_path):
    assert noticed(mutant, tmp_path / "sources", most=8) is None
