"""Random numbers: known answers, the same bits in any blocks and with either library, right distributions."""
import copy
import hashlib
import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.backend import quantile, random
from minidl.errors import ArgumentError, DTypeError

WORD64 = st.integers(0, 2**64 - 1)
KEY = random.key(20240229)


class Shared:
    """What draws may use: functions that CuPy has too. As this is not the module numpy, blocks are large."""

    names = "arange", "argsort", "bitwise_or", "clip", "copysign", "empty", "full", "minimum", "sqrt", "where"

    def __getattr__(self, name):
        assert name in self.names, f"does CuPy have {name}, with the same keywords?"
        return getattr(np, name)


def phi(x):
    """The normal distribution function, exact in the lower tail (NormalDist's is not)."""
    return math.erfc(-x / math.sqrt(2)) / 2


CONTINUOUS = {                                         # name -> distribution function, mean, variance
    "uniform": (lambda x: x, 0.5, 1 / 12),
    "normal": (phi, 0.0, 1.0),
    "truncated_normal": (lambda x: (phi(x) - phi(-2)) / (phi(2) - phi(-2)), 0.0, 0.773741),
    "exponential": (lambda x: 1 - math.exp(-x), 1.0, 1.0),
    "gumbel": (lambda x: math.exp(-math.exp(-x)), 0.577216, math.pi**2 / 6),
}
FLOATS = np.float32, np.float64, np.float16, ml_dtypes.bfloat16


def continuous(name, dtype):
    return lambda xp, key, shape: getattr(random, name)(xp, key, shape, dtype=dtype)


DRAWS = {
    "bits": random.bits,
    "integers": lambda xp, key, shape: random.integers(xp, key, shape, -5, 10**6),
    "bernoulli": lambda xp, key, shape: random.bernoulli(xp, key, shape, 0.3),
    **{f"{name}-{np.dtype(dtype)}": continuous(name, dtype) for name in CONTINUOUS for dtype in FLOATS},
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


# -- words and keys ---------------------------------------------------------------

@pytest.mark.parametrize("counter, seed, words", [     # (of the known answers that come with Random123)
    (0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (2**128 - 1, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (0x03707344_13198A2E_85A308D3_243F6A88, 0x299F31D0_A4093822, "d16cfe09 94fdcceb 5001e420 24126ea1"),
])
def test_known_answers(counter, seed, words):
    low, high = counter % 2**64, counter >> 64
    answers = random.philox(np, random.Key(seed, high), low, 1)[0], random._philox_on_host(seed, low, high)
    assert [" ".join(f"{word:08x}" for word in answer) for answer in answers] == [words, words]


@given(WORD64, WORD64, WORD64)
def test_arrays_and_the_host_agree(seed, stream, first):
    words = random.philox(np, random.Key(seed, stream), first, 3)
    for i, row in enumerate(words.tolist()):
        assert tuple(row) == random._philox_on_host(seed, (first + i) % 2**64, stream)


def test_keys_are_values_and_never_meet():
    key = random.key(1)
    assert key == random.Key(1, 0) == pickle.loads(pickle.dumps(key)) and hash(key) == hash(random.Key(1, 0))
    with pytest.raises(AttributeError):
        key.seed = 2
    generator = random.Generator(1)
    family = [key, random.key(2), random.Key(1, 1), *random.split(key, 50), *random.split(random.key(2), 50),
              *[random.fold_in(key, i) for i in range(50)], *[generator.next_key() for _ in range(50)]]
    assert random.split(key, 50)[:2] == random.split(key)
    assert len(set(family)) == len(family) == len({random.bits(np, k, 4).tobytes() for k in family})
    numbers = np.stack([random.normal(np, k, 20000) for k in family[:40]])
    assert abs(np.corrcoef(numbers) - np.eye(40)).max() < 4.5 / math.sqrt(20000)


def test_every_bit_is_a_fair_coin_without_memory():
    words = random.bits(np, KEY, 100_000)
    coins = (words[:, None] >> np.arange(32, dtype="u4") & 1).T * 2.0 - 1
    for lag in (1, 2, 4):
        assert abs((coins[:, lag:] * coins[:, :-lag]).mean(1)).max() < 4.5 / math.sqrt(100_000)
    assert abs(coins.mean(1)).max() < 4.5 / math.sqrt(100_000)
    assert abs(np.corrcoef(coins) - np.eye(32)).max() < 5 / math.sqrt(100_000)


# -- the same bits ----------------------------------------------------------------

@each_draw
def test_an_element_depends_on_its_key_and_its_place_alone(draw, monkeypatch):
    whole = draw(np, KEY, 4099)
    monkeypatch.setattr(random, "HOST_BLOCK", 64)
    monkeypatch.setattr(random, "DEVICE_BLOCK", 1000)
    for xp in (np, Shared()):
        for n in (0, 1, 5, 2048, 4099):
            assert draw(xp, KEY, n).tobytes() == whole[:n].tobytes()
    assert draw(np, random.fold_in(KEY, 1), 4099).tobytes() != whole.tobytes()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4), [5]])
def test_shapes(shape):
    drawn = random.normal(np, KEY, shape)
    assert drawn.shape == tuple(shape)
    assert drawn.ravel().tolist() == random.normal(np, KEY, drawn.size).tolist()


FROZEN = {                                             # first bytes, and the digest of 100,000 numbers
    "bits": ("de51ed875b0aa5e4ccc9106f57969945", "831b17f0be64796d38d15419cd25cd8e"),
    "uniform-float32": ("51ed073f0aa5643f9221de3e2c338b3e", "0a022abd33fcf9b1b60159dee51dc21a"),
    "uniform-float64": ("aafd704ba194ec3f32c4db956566d13f", "d4ea2e618340a926ff01cba21bac5faa"),
    "normal-float32": ("f31e9f3d5d289f3f2e942abe5c6e1bbf", "4f352a6911477236371dc6e1fa0080a9"),
    "normal-float64": ("0f9d98a00be5f33fcc267865cb6de3bf", "6c56607e51dce6705345cafa578f7d0c"),
    "truncated_normal-float32": ("04de973d4d67933f0bc022be057f13bf", "a34a25c2069a40312c5e794dd5228f40"),
    "exponential-float32": ("2c10223fdb70e73d45c6553f7db5a63f", "b3230091e34493195ef517379973a43d"),
    "gumbel-float64": ("855a705a3e710140266d2772f7e8d0bf", "2c1f92730c96e04e7f7028f0454af587"),
    "integers": ("d6a00d0000000000ff25040000000000", "4b0707026ea83ae177a99efdf268a930"),
    "bernoulli": ("00000001010101000000000001000000", "42407d112cb6ce6c2d9a181e5f9d0454"),
    "permutation": ("cef8000000000000203d000000000000", "593f2573947c8818a13b4a941d9b04ec"),
}


@pytest.mark.parametrize("name", FROZEN)
def test_the_stream_is_frozen(name):
    """Whoever changes these bits changes every seeded result of every user."""
    draw = {**DRAWS, "permutation": random.permutation}[name]
    drawn = draw(np, KEY, 100_000)
    drawn = drawn.astype(drawn.dtype.newbyteorder("<")).tobytes()
    assert (drawn[:16].hex(), hashlib.sha256(drawn).hexdigest()[:32]) == FROZEN[name]


# -- distributions ----------------------------------------------------------------

@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_distribution(name, dtype):
    cdf, mean, variance = CONTINUOUS[name]
    n = 50_000
    drawn = getattr(random, name)(np, KEY, n, dtype=dtype)
    assert drawn.dtype == dtype
    x = np.sort(drawn.astype("f8"))
    distance = abs(np.array([cdf(v) for v in x]) - (np.arange(n) + 0.5) / n).max()
    assert distance * math.sqrt(n) < 1.95                                      # Kolmogorov: p = 0.001
    assert abs(x.mean() - mean) < 4 * math.sqrt(variance / n)
    assert abs(x.var() / variance - 1) < 0.04


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("low, high", [(0, 1), (1, 2), (-3.5, 0.25), (-1e4, 1e4)])
def test_uniform_is_half_open(low, high, dtype, monkeypatch):
    x = random.uniform(np, KEY, 200_000, low, high, dtype)
    assert x.dtype == dtype and x.min() >= low and x.max() < high
    assert abs(x.astype("f8").mean() - (low + high) / 2) < 0.004 * (high - low)
    monkeypatch.setattr(random, "philox", lambda xp, key, first, count: np.full((count, 4), 2**32 - 1, "u4"))
    assert low < random.uniform(np, KEY, (), low, high, dtype) < high


@pytest.mark.parametrize("word", [0, 2**32 - 1])
def test_the_most_extreme_words_give_ordinary_numbers(word, monkeypatch):
    monkeypatch.setattr(random, "philox", lambda xp, key, first, count: np.full((count, 4), word, "u4"))
    for name in CONTINUOUS:
        for dtype in FLOATS:
            assert abs(getattr(random, name)(np, KEY, (), dtype=dtype).astype("f8")) < 37
    for low in np.linspace(-7, 7, 99):
        assert low <= random.truncated_normal(np, KEY, (), low, low + 0.1, "float64") <= low + 0.1
    assert random.integers(np, KEY, (), -5, 7) == (6 if word else -5)
    assert not random.bernoulli(np, KEY, (), 0) and random.bernoulli(np, KEY, (), 1)


@pytest.mark.parametrize("low, high", [(-1, 0.5), (3, 4), (-math.inf, -5), (-9, 9), (0, math.inf), (8, 12)])
def test_truncated_normal_keeps_its_limits_and_its_shape(low, high):
    x = random.truncated_normal(np, KEY, 50_000, low, high, "float64")
    assert (x >= low).all() and (x <= high).all()
    sign = -1 if low + high > 0 else 1
    start, end = sorted((phi(sign * low), phi(sign * high)))
    ranks = np.sort([(phi(sign * v) - start) / (end - start) for v in x])
    assert abs(ranks - (np.arange(50_000) + 0.5) / 50_000).max() * math.sqrt(50_000) < 1.95


@pytest.mark.parametrize("dtype", random.INTEGERS)
def test_integers_cover_the_dtype(dtype):
    low = int(np.iinfo(dtype).min)
    high = min(int(np.iinfo(dtype).max) + 1, low + 2**32)
    x = random.integers(np, KEY, 100_000, low, high, dtype)
    assert x.dtype == dtype
    counts = np.bincount((x.astype("i8") - low) * 64 // (high - low), minlength=64)
    assert len(counts) == 64 and ((counts - 1562.5) ** 2 / 1562.5).sum() < 103.4      # chi-squared: p = 0.001


def test_integers_are_the_upper_half_of_a_product():
    words = random.bits(np, KEY, 2000).view("u8").tolist()
    for low, n in ((0, 1), (-7, 10), (5, 2**31 + 11), (-(2**40), 2**32)):
        assert random.integers(np, KEY, 1000, low, low + n).tolist() == [low + (w * n >> 64) for w in words]


@pytest.mark.parametrize("p", [0, 1, 0.1, 2.0**-20, 0.999])
def test_bernoulli(p):
    hits = random.bernoulli(np, KEY, 400_000, p)
    assert hits.dtype == bool and abs(hits.mean() - p) <= 4 * math.sqrt(p * (1 - p) / 400_000)


def test_permutations_are_all_equally_likely():
    assert sorted(random.permutation(np, KEY, 1000).tolist()) == list(range(1000))
    orders = [tuple(random.permutation(np, random.fold_in(KEY, i), 3).tolist()) for i in range(3000)]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == 6 and ((counts - 500) ** 2 / 500).sum() < 20.5       # chi-squared: p = 0.001


# -- what distributions are made of -----------------------------------------------

def test_log():
    x = np.exp(random.uniform(np, KEY, 100_000, -700, 700, "float64"))
    x = np.concatenate([x, 1 + 2.0 ** -np.arange(1, 53), 1 - 2.0 ** -np.arange(1, 54), [1.0]])
    np.testing.assert_allclose(quantile.log(x), np.log(x), rtol=1e-15)


@pytest.mark.parametrize("rows, least, tolerance", [
    (quantile.PPND7, 2.0**-33, 2e-7),
    (quantile.PPND16, 1e-300, 2e-14),
])
def test_normal_quantile(rows, least, tolerance):
    small = np.exp(random.uniform(np, KEY, 3000, math.log(least), math.log(0.5), "float64"))
    p = np.concatenate([small, random.uniform(np, KEY, 3000, 1e-9, 1, "float64"), [0.075, 0.925]])
    expected = [NormalDist().inv_cdf(v) for v in p]
    np.testing.assert_allclose(quantile.normal(np, p, *rows), expected, rtol=tolerance, atol=1e-12)


def test_normal_cdf():
    for x in np.linspace(-12.9, 8, 100):
        assert math.isclose(quantile.normal_cdf(x), math.erfc(-x / math.sqrt(2)) / 2, rel_tol=1e-13)
    assert quantile.normal_cdf(0.0) == 0.5


# -- the generator ----------------------------------------------------------------

def test_a_state_goes_through_json_and_draws_go_on():
    generator = random.Generator(2**64 - 1)
    generator.next_key()
    other = random.Generator()
    other.set_state(json.loads(json.dumps(generator.state())))
    twins = [other, copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))]
    expected = generator.next_key()
    assert [twin.next_key() for twin in twins] == [expected] * 3


def test_threads_share_a_generator():
    shared, alone = random.Generator(5), random.Generator(5)
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: shared.next_key(), range(4000)))
    assert set(keys) == {alone.next_key() for _ in range(4000)} and shared.state() == alone.state()


def test_the_default_generator_is_seeded_and_replayed():
    outside = random.default()
    before = outside.state()
    try:
        random.seed(3)
        state = outside.state()
        first = random.default().next_key()
        with ThreadPoolExecutor() as pool, pytest.raises(KeyError), random.at(state):
            assert random.default().next_key() == first
            assert pool.submit(random.default).result() is outside             # other threads go on
            raise KeyError
        assert random.default() is outside and outside.state() == {"seed": 3, "draws": 1}
    finally:
        outside.set_state(before)


# -- bad arguments ----------------------------------------------------------------

@pytest.mark.parametrize("call, words", [
    (lambda: random.key(-1), r"\[key\] seed"),
    (lambda: random.key(2**64), r"\[key\] seed"),
    (lambda: random.key(0.5), r"\[key\] seed"),
    (lambda: random.fold_in(KEY, "a"), r"\[fold_in\] data"),
    (lambda: random.split(KEY, -1), r"\[split\] n"),
    (lambda: random.seed(None), r"\[key\] seed"),
    (lambda: random.Generator().set_state({"seed": 1}), r"\[set_state\] state"),
    (lambda: random.Generator().set_state({"seed": 1, "draws": -1}), r"\[set_state\] draws"),
    (lambda: random.bits(np, KEY, -1), r"\[bits\] shape"),
    (lambda: random.bits(np, 7, 1), r"\[bits\] key"),
    (lambda: random.normal(np, KEY, (2, 1.5)), r"\[normal\] shape"),
    (lambda: random.uniform(np, KEY, 1, 1, 1), r"\[uniform\] low, high"),
    (lambda: random.uniform(np, KEY, 1, math.nan, 1), r"\[uniform\] low, high"),
    (lambda: random.uniform(np, KEY, 1, 0, 1e39), r"\[uniform\] low, high"),
    (lambda: random.uniform(np, KEY, 1, -3e38, 3e38), r"\[uniform\] low, high"),
    (lambda: random.truncated_normal(np, KEY, 1, 2, -2), r"\[truncated_normal\] low, high"),
    (lambda: random.truncated_normal(np, KEY, 1, math.nan, 2), r"\[truncated_normal\] low, high"),
    (lambda: random.truncated_normal(np, KEY, 1, 14, 15), r"\[truncated_normal\] low, high"),
    (lambda: random.integers(np, KEY, 1, 3, 3), r"\[integers\] high"),
    (lambda: random.integers(np, KEY, 1, 0, 2**32 + 1), r"\[integers\] high"),
    (lambda: random.integers(np, KEY, 1, 0, 257, "uint8"), r"\[integers\] high"),
    (lambda: random.integers(np, KEY, 1, -1, 5, "uint8"), r"\[integers\] low"),
    (lambda: random.bernoulli(np, KEY, 1, 1.5), r"\[bernoulli\] p"),
    (lambda: random.bernoulli(np, KEY, 1, math.nan), r"\[bernoulli\] p"),
    (lambda: random.permutation(np, KEY, -2), r"\[permutation\] shape"),
])
def test_bad_arguments(call, words):
    with pytest.raises(ArgumentError, match=words + ".*: expected .*, got "):
        call()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_bad_dtypes(name):
    for dtype in ("int32", "complex64", "floaty"):
        with pytest.raises(DTypeError, match=rf"\[{name}\] dtype: expected float32 or "):
            getattr(random, name)(np, KEY, 1, dtype=dtype)
    with pytest.raises(DTypeError, match=r"\[integers\] dtype"):
        random.integers(np, KEY, 1, 0, 2, "float32")
