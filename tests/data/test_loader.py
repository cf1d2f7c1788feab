"""The loader: the same batches, to the bit, at any number of workers, from any point of any epoch."""
import resource
from itertools import islice

import numpy as np
import pytest
from loader_cases import Numbers, Pids, Squares, default_dtype_of_batch, holdings, increment, jitter, strings

from minidl.backend import random
from minidl.data import ArrayDataset, BatchSampler, DataLoader, WeightedRandomSampler
from minidl.dtypes import set_default_dtype
from minidl.errors import ArgumentError, CheckpointError
from minidl.io import load, save


def bits(batch):
    """A batch as plain values that say everything about it."""
    if isinstance(batch, np.ndarray):
        return batch.dtype.str, batch.shape, batch.tobytes()
    if isinstance(batch, dict):
        return {key: bits(value) for key, value in batch.items()}
    return type(batch)(map(bits, batch)) if isinstance(batch, (list, tuple)) else batch


def epochs(loader, count=1):
    return [[bits(batch) for batch in loader] for _ in range(count)]


def augmented(**arguments):
    defaults = {"batch_size": 4, "shuffle": True, "seed": 7, "transform": jitter}
    return DataLoader(Squares(23), **defaults | arguments)


def test_an_epoch_by_hand():
    """The order is the permutation of the epoch's key, an item's key is folded from that and its number."""
    loader = augmented()
    for epoch in range(2):
        key = random.fold_in(random.key(7), epoch)
        order = random.permutation(np, key, 23).tolist()
        for number, (squares, images, names) in enumerate(loader):
            indices = order[4 * number:4 * number + 4]
            noise = np.stack([random.uniform(np, random.fold_in(key, i), (3, 4)) for i in indices])
            assert squares.dtype == np.int64 and squares.tolist() == [i * i for i in indices]
            assert (images == Squares(23).images[indices] + noise).all() and images.dtype == np.float32
            assert names["name"] == [f"item {i}" for i in indices] and names["half"].dtype == np.float32
        assert number == len(loader) - 1 == 5


@pytest.mark.parametrize("arguments", [
    {}, {"shuffle": False}, {"drop_last": True}, {"batch_size": 1}, {"batch_size": 30},
    {"prefetch_factor": 1}, {"persistent_workers": True}, {"collate_fn": strings},
    {"shuffle": False, "sampler": [3, 1, 2, 1]},
    {"shuffle": False, "sampler": WeightedRandomSampler(np.arange(23), 50, seed=1)},
    {"batch_size": 1, "shuffle": False, "batch_sampler": [[1, 2], [0], [5, 6, 7]]}])
def test_any_number_of_workers_gives_the_same_bits(arguments):
    expected = epochs(augmented(**arguments), 2)
    assert expected[0] and all(epochs(augmented(**arguments, num_workers=n), 2) == expected for n in (1, 3))


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_resumed_epoch_is_the_rest_of_the_uninterrupted_one(tmp_path, n):
    """From every point of the second epoch, with another number of workers, and through a file."""
    expected = sum(epochs(augmented(), 3), [])
    for given in range(len(augmented()) + 1):
        loader = augmented(num_workers=n)
        first = epochs(loader)[0] + [bits(batch) for batch in islice(loader, given)]
        save(loader.state_dict(), tmp_path / "state")
        resumed = augmented(num_workers=(n + 1) % 4)
        resumed.load_state_dict(load(tmp_path / "state"))
        assert resumed.state_dict() == loader.state_dict()
        assert first + sum(epochs(resumed, 2), []) == expected


def test_an_epoch_that_is_left_is_over():
    """A look at the first batch costs no batch of the epoch that follows."""
    loader, whole = augmented(), epochs(augmented(), 2)
    assert bits(next(iter(loader))) == whole[0][0]
    assert epochs(loader)[0] == whole[1]


def test_two_iterations_beside_each_other():
    loader = DataLoader(Numbers(20), num_workers=2, persistent_workers=True)
    assert [(a.item(), b.item()) for a, b in zip(loader, loader)] == [(i, i) for i in range(20)]


def test_persistent_workers_stay_for_the_next_epoch():
    loader = DataLoader(Pids(20), num_workers=2, persistent_workers=True)
    first, second = ({batch.item() for batch in loader} for _ in range(2))
    assert len(first) == 2 and first == second
    next(iter(loader))                                 # their work is under way: they are replaced
    assert not first & {batch.item() for batch in loader}


def test_an_epoch_holds_no_descriptors_and_its_batches_are_the_consumers():
    """More batches than there are descriptors are kept, and written to."""
    loader, (soft, hard) = DataLoader(Squares(200), num_workers=2), resource.getrlimit(resource.RLIMIT_NOFILE)
    epochs(loader)                                     # (the server of the workers is there from now on)
    before = holdings()
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] + 40, hard))
    try:
        batches = list(loader)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for _, images, _ in batches:
        images += 1
    assert len(batches) == 200 and (np.concatenate([b[1] for b in batches]) == Squares(200).images + 1).all()
    assert holdings() == before


def test_a_worker_writes_to_its_own_copy_of_the_dataset():
    data = ArrayDataset(np.zeros((10, 5)))
    loader = DataLoader(data, sampler=[3] * 6, num_workers=2, transform=increment)
    assert [batch[0].max() for batch in loader] == [1, 1, 2, 2, 3, 3] and not data.arrays[0].any()


def test_workers_share_the_default_dtype():
    before = set_default_dtype("float64")
    try:
        batches = list(DataLoader(Numbers(2), num_workers=1, collate_fn=default_dtype_of_batch))
    finally:
        set_default_dtype(before)
    assert batches == ["float64"] * 2


def test_large_and_empty_batches():
    large = np.arange(3 * 10**6, dtype="float64").reshape(3, -1)
    batches = [batch for batch, in DataLoader(ArrayDataset(large), num_workers=2)]
    assert (np.concatenate(batches) == large).all() and len(batches) == 3
    assert [b[0].shape for b in DataLoader(ArrayDataset(np.zeros((2, 0))), num_workers=1)] == [(1, 0)] * 2
    assert list(DataLoader(Numbers(0), num_workers=1)) == []


@pytest.mark.parametrize("arguments", [
    {"batch_size": 0}, {"batch_size": 2.0}, {"num_workers": -1}, {"prefetch_factor": 0}, {"timeout": -1},
    {"prefetch_factor": "2"}, {"timeout": "1"}, {"dataset": 5}, {"dataset": iter("ab")},
    {"sampler": [0], "shuffle": True}, {"batch_sampler": [[0]], "batch_size": 2},
    {"batch_sampler": BatchSampler([0], 1), "drop_last": True}])
def test_arguments_out_of_range(arguments):
    with pytest.raises(ArgumentError, match=r"^\[(DataLoader|BatchSampler)\] \w+: expected"):
        DataLoader(**{"dataset": Numbers(4), **arguments})


@pytest.mark.parametrize("change", [
    {"epoch": -1}, {"batches": 7}, {"batches": 1.0}, {"seed": 8}, {"more": 1}, {"epoch": None}], ids=str)
def test_a_state_that_does_not_fit(change):
    loader = augmented()
    with pytest.raises(CheckpointError, match=r"^\[DataLoader\] state"):
        loader.load_state_dict(loader.state_dict() | change)
    assert loader.state_dict() == {"epoch": 0, "batches": 0, "seed": 7}
