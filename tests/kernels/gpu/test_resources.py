"""What the compiled kernels of this installation need of each processor: no spills, shared memory within its limit,
matrix instructions in the loops of matrix products, and what kernels/resources.json says."""
import json
from pathlib import Path

import pytest

from minidl.kernels.gpu.library import Library

TABLE = json.loads((Path(__file__).parents[3] / "kernels/resources.json").read_text())
SHARED = {"sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10}         # bytes that a block may have
LIBRARY = Library.installed()
compiled = pytest.mark.skipif(LIBRARY.folder is None, reason="this installation has no compiled kernels for GPUs")


@compiled
def test_kernels_need_what_the_table_says(kernel_sources):
    found = json.loads(json.dumps(kernel_sources.table(LIBRARY.manifest)))
    makers = [m for m, version in found["compilers"].items() if TABLE["compilers"].get(m) == version]
    names = {" ".join([e["kernel"], *map(str, e["key"].values())]) for e in LIBRARY.manifest["entries"]
             if e["maker"] in makers}
    differ = {n: (found["rows"][n], TABLE["rows"].get(n)) for n in names if found["rows"][n] != TABLE["rows"].get(n)}
    assert not differ, f"{differ}: if that is as it should be, python -m kernels.library table {LIBRARY.folder}"


@compiled
def test_kernels_keep_within_each_processor():
    rows = [(f"{e['kernel']} {e['key']} {target}", target, t) for e in LIBRARY.manifest["entries"]
            for target, t in e["targets"].items()]
    assert not [(name, t["spills"]) for name, _, t in rows if t["spills"]], "registers are spilled"
    assert not [name for name, target, t in rows if t["shared"] + t["static"] > SHARED[target]], "too much is shared"
    assert not [name for name, _, t in rows if t["product"] and not t["matrix"]], "no tensor cores in a product's loop"
