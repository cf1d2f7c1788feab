"""What compiled kernels need of each processor: kernels/resources.json has it of all, and is as it should be.

CI compiles all of them and compares: python -m kernels.library check FOLDER.
"""
import json
import subprocess
import zlib
from pathlib import Path

import pytest

from minidl.kernels.gpu.library import Library

LIBRARY = Library.installed()


@pytest.fixture
def rows(kernel_sources):
    return json.loads(kernel_sources.RESOURCES.read_text())["rows"]


def test_no_kernel_spills_or_shares_too_much_or_multiplies_by_hand(rows, kernel_sources):
    assert not [*kernel_sources.excesses(rows)]
    assert {kind for row in rows.values() for *_, kind, _ in row.values()} == {"mma", "wgmma", "tcgen05", None}


@pytest.mark.skipif(LIBRARY.folder is None, reason="this installation has no compiled kernels for GPUs")
def test_kernels_of_this_installation_need_what_the_table_says(kernel_sources):
    assert not [*kernel_sources.differences(LIBRARY.manifest)]


def test_what_differs_is_said(kernel_sources):
    """One kernel is compiled anew: it needs what the table says; with more it would be noticed."""
    pytest.importorskip("triton")
    compiler, target = kernel_sources.compiler("triton"), "sm_80"
    variant = kernel_sources.variants("triton", "optim")[0]
    numbers = kernel_sources.measured(compiler.compiled(variant, target))
    entry = {**kernel_sources.record(variant), "targets": {target: numbers}}
    assert not [*kernel_sources.differences({"compilers": {"triton": compiler.version()}, "entries": [entry]})]

    entry["targets"][target] = {**numbers, "spills": 8, "shared": 1 << 20, "product": True}
    version = json.loads(kernel_sources.RESOURCES.read_text())["compilers"]["triton"]
    manifest = {"compilers": {"triton": version}, "entries": [entry]}
    said, = kernel_sources.differences(manifest)
    assert said.startswith(kernel_sources.title(entry)) and "'spills': 8" in said
    assert len([*kernel_sources.excesses(kernel_sources.table(manifest)["rows"])]) == 3


def test_binaries_without_lines_hold_the_same_code(kernel_sources, tmp_path):
    triton = pytest.importorskip("triton")
    variant = kernel_sources.variants("triton", "optim")[0]
    cubin = kernel_sources.compiler("triton").compiled(variant, "sm_80")["cubin"]
    made = kernel_sources.without_debug(cubin)
    assert len(zlib.compress(made)) < 0.6 * len(zlib.compress(cubin)) and len(made) == len(cubin)
    assert kernel_sources.resources(made) == kernel_sources.resources(cubin)

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    code = []
    for binary in (cubin, made):
        (tmp_path / "binary").write_bytes(binary)
        found = subprocess.run([tool, "-c", tmp_path / "binary"], capture_output=True, text=True, check=True)
        code.append(found.stdout)
    assert code[0] == code[1] and "EXIT" in code[0]
