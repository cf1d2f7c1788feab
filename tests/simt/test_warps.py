"""Lanes of a warp: shuffles, votes and reductions; lanes wait for those that they name, wherever they are."""

import numpy as np
import pytest
from fixtures import MAKERS, module

from minidl import simt

random = np.random.default_rng(13)
ORDERS = [{}, {"seed": 1}, {"seed": 2}, {"chunk_lanes": 32}]
LANE = np.arange(64) % 32


@pytest.fixture(params=MAKERS)
def run(request):
    return lambda kernel, args, threads=64, **options: simt.launch(
        module("warps", request.param), 1, threads, args, kernel, **options
    )


def values():
    return random.integers(0, 100, 64).astype(np.int32)


def warps(x):
    return x.reshape(2, 32)


def test_shuffles(run):
    x, y, d, e = values(), np.zeros((10, 64), np.int32), random.standard_normal(64), np.zeros(64)
    run("shuffles", [x, y, d, e])

    def taken(source, width=32):
        inside = (source >= LANE // width * width) & (source < LANE // width * width + width)
        return x[np.where(inside, source, LANE) + np.arange(64) // 32 * 32]
    expected = [taken(3 + 0 * LANE), taken(np.arange(64) * 7 % 32), taken(LANE - 3), taken(LANE + 5), taken(LANE ^ 9),
                taken(LANE // 8 * 8 + 5, 8), taken(LANE - 2, 8), taken(LANE + 3, 16), taken(LANE ^ 4, 8)]
    assert np.array_equal(y[:9], expected)
    assert np.array_equal(y[9, :32], [x[2 * t] if 2 * t < 32 else x[t] for t in range(32)])
    assert np.array_equal(e, d[np.arange(64) ^ 1])


def test_votes(run):
    x, y = values(), np.zeros((15, 64), np.uint32)
    x[5], x[40] = 99, 7
    run("votes", [x, y])
    for warp, rows in zip(warps(x), y.reshape(15, 2, 32).swapaxes(0, 1)):
        bits = lambda flags: sum(int(f) << k for k, f in enumerate(flags))
        v = warp.astype(int)
        everywhere = [
            bits(v > 50),
            int((v > 98).any()),
            1,
            None,
            0,
            0,
            0xFFFFFFFF,
            1,
            v.sum(),
            (-v).max() & 0xFFFFFFFF,
            v.min(),
            np.bitwise_xor.reduce(v),
            np.bitwise_and.reduce(v | 96),
            np.bitwise_or.reduce(v),
            0xFFFFFFFF,
        ]
        for row, expected in zip(rows, everywhere):
            assert expected is None or (row == expected).all()
        assert rows[3].tolist() == [bits(v % 4 == t) for t in v % 4]


@pytest.mark.parametrize("options", ORDERS, ids=str)
def test_partial_masks_and_lanes_that_come_late(run, options):
    x, y = values(), np.zeros(64, np.int32)
    run("partial", [x, y], **options)
    group = np.where(LANE < 8, 0, np.where(LANE < 20, 1, 2)) + np.arange(64) // 32 * 3
    sums = np.array([x[group == g].sum() for g in group])
    odd = np.array([(x[(np.arange(64) // 32 == t // 32) & (LANE % 2 == 1)] > 50).sum() for t in range(64)])
    assert np.array_equal(y, np.where(LANE < 20, sums, -sums) + np.where(LANE % 2, odd * 1000, 0))
    run("uneven", [x, y], **options)
    first = [sum(k * v for k in range(v % 7)) for v in x.tolist()]
    second = []
    for total in first:
        while total > 10:
            total //= 2
        second.append(total)
    odd = [sum(f & 1 for f in first[t // 32 * 32:t // 32 * 32 + 32]) for t in range(64)]
    assert y.tolist() == [second[t ^ 1] + odd[t] * 1000 for t in range(64)]


@pytest.mark.parametrize("options", ORDERS, ids=str)
def test_lanes_meet_from_different_places(run, options):
    x, y = values(), np.zeros(64, np.int32)
    assert run("two_places", [x, y], races=True, **options).clean
    assert y.tolist() == [x[t - 1] + 1 if t % 2 else x[t + 1] for t in range(64)]
    y = np.zeros(64, np.int32)
    run("hand_over", [y], **options)
    assert y.tolist() == [t * t for t in range(64)]


@pytest.mark.parametrize(
    "kernel, what", [("not_all", "deadlock|named lanes do not take part"), ("not_me", "not in the mask")]
)
def test_wrong_masks(run, kernel, what):
    x = values()
    if kernel == "not_all":                              # lanes that have left are not waited for
        run(kernel, [x, np.zeros(64, np.int32)], threads=32)
        return
    with pytest.raises(simt.Fault, match=what) as caught:
        run(kernel, [x, np.zeros(64, np.int32)], threads=32)
    assert "warps.cu" in caught.value.source and caught.value.lanes
