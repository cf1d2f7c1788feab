"""Clusters of blocks: shared memory of other blocks, their barrier, copies between them (kernels/clusters.cu)."""
import re

import numpy as np
import pytest
from fixtures import marked_lines, module

from minidl import simt

ORDERS = [{}, {"chunk_lanes": 64}, {"seed": 1}, {"seed": 2}]


@pytest.fixture(params=["committed", "nvcc"])
def run(request):
    def run(kernel, grid, block, *args, **options):
        return simt.launch(module("clusters", request.param), grid, block, args, kernel, races=True, uninit=True,
                           **options)
    return run


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("options", ORDERS, ids=str)
def test_blocks_swap_what_they_share(run, options):
    x, y = floats(4, 64), floats(4, 64)
    assert run("swap", 4, 64, x, y, **options).clean
    there = x.reshape(2, 2, 64)[:, ::-1, ::-1] + np.float32([[200], [210]])
    assert np.array_equal(y, there.reshape(4, 64))


def test_a_barrier_of_one_block_is_not_enough(run):
    races = run("swap_racy", 2, 64, floats(2, 64), floats(2, 64)).races
    lines = {int(line) for race in races for line in re.findall(r"clusters\.cu:(\d+)", race.text)}
    assert lines == set(marked_lines("clusters", "RACE"))
    assert {"block (0,0,0)", "block (1,0,0)"} <= {name[-13:] for race in races for name in race.lanes}


def test_shared_memory_of_a_block_that_has_left_is_a_fault(run):
    with pytest.raises(simt.Fault, match="a block that has left the kernel"):
        run("swap_left", 2, 64, floats(2, 64), floats(2, 64))


@pytest.mark.parametrize("options", ORDERS, ids=str)
def test_blocks_of_a_square_add_to_each_other(run, options):
    x, bins = np.random.default_rng(0).integers(0, 256, 900).astype("int32"), np.zeros(256, "int32")
    assert run("histogram", (4, 2), 64, x, bins, 900, **options).clean
    assert np.array_equal(bins, np.bincount(x, minlength=256))


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_arriving_and_waiting_apart(run, size):
    x, y = floats(6, 32), floats(6, 32)
    assert run("arrive_then_wait", 6, 32, x, y, cluster=size).clean
    sums = x.reshape(-1, size, 32).sum(1, keepdims=True)
    np.testing.assert_allclose(y.reshape(-1, size, 32), np.broadcast_to(sums, (6 // size, size, 32)), atol=1e-6)


def test_copies_between_blocks(run):
    x, y, z, total = floats(2, 64), floats(2, 64), floats(2, 64), np.zeros(64, "float32")
    assert run("remote_stores", 2, 64, x, y).clean and np.array_equal(y, 2 * x[::-1] + x[::-1, ::-1])
    assert run("multicast", 2, 64, x, z).clean and np.array_equal(z, np.broadcast_to(x.sum(0), (2, 64)))
    assert run("reduce_bulk", 2, 64, x, total).clean and np.array_equal(total, x.sum(0))


@pytest.mark.parametrize("grid, size, said", [(3, None, "can be divided"), (4, 4, "was compiled")])
def test_clusters_that_do_not_fit(run, grid, size, said):
    with pytest.raises(simt.PtxError, match=said):
        run("swap", grid, 64, floats(4, 64), floats(4, 64), cluster=size)
