"""Datasets, samplers and collating, against plain Python."""
from collections import namedtuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Tensor
from minidl.data import (
    ArrayDataset,
    BatchSampler,
    ConcatDataset,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)
from minidl.errors import ArgumentError, DTypeError, ShapeError

# -- datasets -------------------------------------------------------------------------


def test_items_are_the_rows_of_arrays_and_tensors():
    x, y = np.arange(6).reshape(3, 2), Tensor([1.0, 2.0, 3.0])
    data = TensorDataset(x, y)
    assert isinstance(data, Dataset) and len(data) == 3
    assert all((data[i][0] == x[i]).all() and data[i][1] == i + 1 for i in range(3))


@pytest.mark.parametrize("arrays", [
    (), (np.zeros(2), np.zeros(3)), (np.float32(1),), (np.zeros(2), np.float32(1))])
def test_arrays_of_unlike_lengths(arrays):
    with pytest.raises(ShapeError, match=r"^\[ArrayDataset\] arrays: expected arrays of one length"):
        ArrayDataset(*arrays)


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=5), st.data())
def test_concat_and_subset_are_those_of_lists(parts, data):
    whole = sum(parts, [])
    joined = ConcatDataset(parts)
    assert list(joined) == whole and len(joined) == len(whole)
    assert [joined[-i - 1] for i in range(len(whole))] == whole[::-1]
    indices = data.draw(st.lists(st.sampled_from(range(len(whole))))) if whole else []
    subset = Subset(joined, indices)
    assert list(subset) == [whole[i] for i in indices] and len(subset) == len(indices)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 2**64 - 1))
def test_a_split_deals_every_item_once(lengths, seed):
    data = list(range(sum(lengths)))
    parts = random_split(data, lengths, seed)
    assert [len(part) for part in parts] == lengths and sorted(sum(map(list, parts), [])) == data
    assert list(map(list, parts)) == list(map(list, random_split(data, lengths, seed)))


@given(st.integers(0, 1000), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_fractions_are_kept_to_an_item(n, weights):
    fractions = [weight / sum(weights) for weight in weights]
    sizes = [len(part) for part in random_split(range(n), fractions)]
    assert sum(sizes) == n and all(abs(size - n * share) <= 1 for size, share in zip(sizes, fractions))


def test_a_split_is_shuffled_by_its_seed():
    orders = [list(random_split(range(99), [99], seed)[0]) for seed in (0, 1)] + [list(range(99))]
    assert len(set(map(tuple, orders))) == 3


@pytest.mark.parametrize("lengths", [[], [3, 3], [11, -1], [0.5, 0.6], [5.0, 5.0]])
def test_lengths_that_do_not_sum_up(lengths):
    with pytest.raises(ArgumentError, match=r"^\[random_split\] lengths: expected"):
        random_split(range(10), lengths)


# -- samplers -------------------------------------------------------------------------

def order_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


@given(st.integers(0, 200), st.integers(0, 2**64 - 1))
def test_orders_of_epochs(n, seed):
    sequential, shuffled = SequentialSampler(range(n)), RandomSampler(range(n), seed)
    orders = [order_of(shuffled, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(n)) == order_of(sequential, 2) for order in orders)
    assert orders[1] == order_of(RandomSampler(range(n), seed), 1) and len(shuffled) == len(sequential) == n
    if n > 20:
        other = order_of(RandomSampler(range(n), seed ^ 1), 0)
        assert len(set(map(tuple, [*orders, other]))) == 4


@given(st.integers(0, 30), st.integers(1, 12), st.booleans())
def test_batches_of_indices(n, size, drop_last):
    sampler = BatchSampler(RandomSampler(range(n)), size, drop_last)
    order, batches = order_of(RandomSampler(range(n)), 3), order_of(sampler, 3)
    assert sum(batches, []) == (order[:n - n % size] if drop_last else order)
    assert len(batches) == len(sampler) and all(len(batch) == size for batch in batches[:-1])


def test_weights_are_frequencies_with_replacement():
    weights = np.array([0, 1, 2, 0, 5, 0])
    counts = np.bincount(order_of(WeightedRandomSampler(weights, 40_000, seed=3), 1), minlength=6)
    expected = 40_000 * weights / weights.sum()
    assert not counts[weights == 0].any()
    assert (abs(counts - expected) <= 5 * np.sqrt(expected)).all()


def test_weights_without_replacement():
    """The first index has the frequency of its weight, the second that of its weight among the rest."""
    weights, n = np.array([1.0, 2, 0, 5]), 4000
    sampler = WeightedRandomSampler(weights, 2, replacement=False)
    pairs = np.array([order_of(sampler, epoch) for epoch in range(n)])
    p = weights / weights.sum()
    for i, j in np.ndindex(4, 4):
        expected = n * p[i] * (p[j] / (1 - p[i]) if i != j else 0)
        assert abs(np.count_nonzero((pairs == (i, j)).all(1)) - expected) <= 5 * np.sqrt(expected)


@pytest.mark.parametrize("weights, count, replacement", [
    ([], 0, True), ([0, 0], 1, True), ([-1, 2], 1, True), ([np.nan], 1, True), ([np.inf], 1, True),
    ([[1]], 1, True), ([1], -1, True), ([1, 0], 2, False)])
def test_weights_that_are_none(weights, count, replacement):
    with pytest.raises(ArgumentError, match=r"^\[WeightedRandomSampler\] (weights|num_samples): expected"):
        WeightedRandomSampler(weights, count, replacement)


# -- collating ------------------------------------------------------------------------

Pair = namedtuple("Pair", "x y")


def test_nests_keep_their_form():
    items = [(i, [float(i), f"{i}"], {"a": np.full((2, 3), i, ml_dtypes.bfloat16), "b": Tensor([i])},
              Pair(i > 1, None), np.float64(i)) for i in range(3)]
    numbers, (floats, texts), named, pair, scalars = default_collate(items)
    assert numbers.tolist() == [0, 1, 2] and numbers.dtype == np.int64
    assert floats.tolist() == [0, 1, 2] and floats.dtype == np.float32 and texts == ["0", "1", "2"]
    assert named["a"].shape == (3, 2, 3) and named["a"].dtype == ml_dtypes.bfloat16
    assert (named["a"][2] == 2).all()
    assert named["b"].shape == (3, 1) and isinstance(named["b"], np.ndarray)
    assert isinstance(pair, Pair) and pair.x.tolist() == [False, False, True] and pair.y == [None] * 3
    assert scalars.dtype == np.float64 and scalars.tolist() == [0, 1, 2]


@pytest.mark.parametrize("items, error", [
    ([np.zeros(2), np.zeros(3)], ShapeError), ([np.zeros(2), np.zeros(2, "f4")], DTypeError),
    ([], ArgumentError), ([(1, 2), (1,)], ArgumentError), ([{"a": 1}, {"b": 1}], ArgumentError),
    ([1, "a"], DTypeError)])
def test_items_that_are_unlike(items, error):
    with pytest.raises(error, match=r"^\[\w+\] \w+: expected"):
        default_collate(items)
