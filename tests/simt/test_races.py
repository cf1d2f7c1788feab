"""Planted races are found, with both instructions, their lines and threads; kernels that are right are silent."""
import re

import numpy as np
import pytest
from fixtures import MAKERS, marked_lines, module

from minidl import simt

random = np.random.default_rng(0)


def floats(*shape):
    return random.standard_normal(shape).astype(np.float32)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


# kernel -> (grid, block, arguments)
SHARED = {
    "row_sum": lambda: (4, 128, [floats(4, 300), zeros(4), 300]),
    "warp_sum": lambda: (1, 32, [floats(32), zeros(1)]),
    "half_warps": lambda: (1, 32, [floats(32), zeros(32)]),
    "write_after_read": lambda: (1, 64, [floats(64), zeros(64)]),
    "hidden_reader": lambda: (1, 64, [floats(32), zeros(64)]),
    "one_place": lambda: (1, 64, [zeros(64)]),
    "one_value": lambda: (1, 32, [zeros(32)]),
    "halves": lambda: (1, 128, [zeros(128, dtype=np.uint16)]),
    "named_barrier": lambda: (1, 128, [floats(64), zeros(64)]),
    "async_copy": lambda: (1, 64, [floats(64, 4), zeros(64, 4)]),
    "async_copy_unordered": lambda: (1, 64, [floats(64, 4), zeros(64, 4)]),
    "shared_flag": lambda: (1, 64, [floats(2)]),
}
GLOBAL = {
    "blocks_write": lambda: (4, 32, [zeros(1)]),
    "blocks_write_same": lambda: (4, 32, [zeros(1)]),
    "blocks_add": lambda: (4, 32, [zeros(1)]),
    "readers": lambda: (1, 64, [floats(32), zeros(64)]),
    "same_warp": lambda: (1, 32, [floats(1), zeros(32)]),
    "in_place": lambda: (5, 64, [floats(320)]),
    "mixed_atomic": lambda: (2, 32, [zeros(1, dtype=np.int32), zeros(1, dtype=np.int32)]),
    "block_atomic": lambda: (3, 32, [zeros(1, dtype=np.int32)]),
    "spin_lock": lambda: (3, 32, [zeros(1, dtype=np.int32), zeros(1, dtype=np.int32)]),
} | {f"last_block{form}": lambda: (5, 32, [floats(5), zeros(5), zeros(1, dtype=np.uint32), zeros(1)])
     for form in ("", "_others", "_one_fence", "_nobarrier", "_nofence", "_noacquire", "_weakfence")}
CASES = SHARED | GLOBAL


def run(kernel, case, maker="committed", **options):
    grid, block, args = CASES[case]()
    return simt.launch(module("races", maker), grid, block, args, kernel, races=True, uninit=True, **options), args


def kernels(racy):
    return [name for name in module("races").kernels if name.endswith("_racy") == racy]


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kernel", kernels(racy=True))
def test_a_planted_race_is_found(kernel, maker):
    case = kernel.removesuffix("_racy")
    result, _ = run(kernel, case, maker)
    assert result.races, "not found"
    lines = marked_lines("races", "RACE")
    assert any(int(line) in lines for race in result.races for line in re.findall(r"races\.cu:(\d+)", race.text))
    for race in result.races:
        assert race.instruction in race.text and race.earlier in race.text and race.source in race.text
        assert race.space == ("shared" if case in SHARED else "global") and race.address > 0
        assert len(set(race.lanes)) == 2 and all(lane in race.text for lane in race.lanes)


@pytest.mark.parametrize("kernel", kernels(racy=False))
@pytest.mark.parametrize("options", [{}, {"chunk_lanes": 32}, {"seed": 1}, {"seed": 2}], ids=str)
def test_a_clean_kernel_is_silent(kernel, options):
    result, _ = run(kernel, kernel, **options)
    assert result.clean, [str(found) for found in (*result.races, *result.warnings)]


@pytest.mark.parametrize("kernel", kernels(racy=True))
def test_races_do_not_depend_on_how_blocks_are_run(kernel):
    case = kernel.removesuffix("_racy")
    for lanes in (32, 64, 128):
        assert run(kernel, case, chunk_lanes=lanes)[0].races, f"not found with {lanes} threads at a time"
    for seed in (1, 2, 3):
        assert run(kernel, case, seed=seed)[0].races, f"not found in the order of seed {seed}"


def kinds(kernel):
    return {race.kind for race in run(kernel, kernel.removesuffix("_racy"))[0].races}


def test_kinds():
    assert kinds("row_sum_racy") == {"read after write"}
    assert kinds("hidden_reader_racy") == {"write after read"}
    assert kinds("async_copy_racy") == {"touches a copy in flight"}
    assert "write after write in one instruction" in kinds("one_place_racy")
    assert kinds("blocks_write_racy") == {"between blocks, write after write"}
    assert kinds("blocks_write_same_racy") == {"between blocks, write after write (same value)"}
    assert kinds("last_block_nofence_racy") == {"between blocks, read after write"}
    assert kinds("readers_racy") == kinds("same_warp_racy") == {"write after read"}


def test_results():
    """The check looks on; it changes nothing."""
    (x, y, _) = run("row_sum", "row_sum")[1]
    assert np.allclose(y, x.sum(1), atol=1e-4)
    (x, y) = run("named_barrier", "named_barrier")[1]
    assert np.array_equal(y, x[::-1])
    (_, total) = run("spin_lock", "spin_lock")[1]
    assert total[0] == 96
    for form in ("last_block", "last_block_others", "last_block_one_fence"):
        (x, _, count, out) = run(form, form)[1]
        assert count[0] == 5 and np.allclose(out[0], 2 * x.sum(), atol=1e-5)
