"""Barriers in shared memory and bulk copies, as nvcc emits them for sm_90a (kernels/bulk_scale.cu)."""
import re
from pathlib import Path

import numpy as np
import pytest

from minidl import simt
from minidl.simt.instructions import mbarrier

PTX = (Path(__file__).parent / "kernels" / "bulk_scale.ptx").read_text()
BLOCKS, SIZE = 3, 256


def run(text=PTX, **options):
    x = np.random.default_rng(0).random(BLOCKS * SIZE, "float32")
    y = np.zeros_like(x)
    result = simt.launch(simt.load(text), BLOCKS, 64, [x, y, BLOCKS], **options)
    return np.array_equal(y, 2 * x + 1), result


def edited(pattern, replacement, count=1):
    text, n = re.subn(pattern, replacement, PTX, count=count)
    assert n, pattern
    return text


@pytest.mark.parametrize("chunk_lanes", [64, 4096])
def test_tiles_go_through_shared_memory(chunk_lanes):
    right, result = run(races=True, counters=True, chunk_lanes=chunk_lanes)
    assert right and result.clean
    assert result.counters.total("global")["bytes"] == 2 * BLOCKS * SIZE * 4


def test_without_the_wait_for_bytes_the_tile_is_a_race():
    hasty = edited(r"mbarrier\.try_wait\.shared\.b64 p, \[(%r\d+)\], (%rd\d+);", "setp.eq.u64 p, 0, 0;", 0)
    right, result = run(hasty, races=True)
    assert not right and any("cp.async.bulk" in str(race) for race in result.races)


def test_without_the_wait_for_the_group_nothing_arrives():
    right, _ = run(edited(r"cp\.async\.bulk\.wait_group\.read 0;", ""))
    assert not right


def test_a_phase_waits_for_all_arrivals_and_for_bytes():
    with pytest.raises(simt.Fault, match="poll memory that nobody changes|endless loop"):
        one_more = r"mbarrier.init.shared.b64 [\1], 65;"
        run(edited(r"mbarrier\.init\.shared\.b64 \[(%r\d+)\], (%r\d+);", one_more), limit=100_000)
    for brought, ends in ((96, False), (128, True)):
        words = np.array([2 | 2 << 20 | mbarrier.BIAS << 40], np.uint64)
        mbarrier.change(words, 0, arrivals=1, brought=-128)
        mbarrier.change(words, 0, brought=brought)
        mbarrier.change(words, 0, arrivals=1)
        pending, expected, left, parity = mbarrier.fields(words[0])
        assert (pending, expected, left, parity) == ((2, 2, 0, 1) if ends else (0, 2, 32, 0))


@pytest.mark.parametrize("size, said", [("1000", "multiple of 16"), ("0", "multiple of 16"), ("4096", "out of bounds")])
def test_wrong_sizes_are_a_fault(size, said):
    with pytest.raises(simt.Fault, match=said):
        run(edited(r"(complete_tx::bytes \[%r\d+\], \[%rd\d+\], )%r\d+", r"\g<1>" + size))
