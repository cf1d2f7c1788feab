"""Random numbers: the same bits on NumPy and CuPy, on every machine, at any number of threads or workers.

Philox scrambles counters under a key, so element i of a draw is a function of (key, i) alone: nothing is
carried from one number to the next, and a prefix of a longer draw is the shorter draw.  A Key is two integers
on the host; it enters an op as a parameter, so that a call that is replayed sees the same numbers.

    Generator (seed, draws) -> next_key() -> Key -> philox(counters) -> words -> uniform, normal, integers
"""
import operator
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError, DTypeError, message
from . import quantile

FLOATS = "float32", "float64", "float16", "bfloat16"
INTEGERS = "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"
HOST_BLOCK, DEVICE_BLOCK = 1 << 15, 1 << 22            # elements at once: to stay in cache, to bound memory
LOW32, LOW64 = 2**32 - 1, 2**64 - 1
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57                   # both pairs: Salmon et al. 2011, section 3.3
STEPS = 0x9E3779B9, 0xBB67AE85                         # of the key's words, from round to round

# Keys are derived under seeds of their own, so that no new key is also a word of a draw.
SPLIT, FOLD, NEXT = (int.from_bytes(name, "little") for name in (b"splitkey", b"fold_key", b"next_key"))


def _integer(op, argument, value, least, most):
    """The value as a Python integer in [least, most]."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise ArgumentError(message(op, argument, f"an integer in [{least}, {most}]", repr(value)))
    return number


def _dtype(op, dtype, names):
    """The dtype, which must be one of `names`."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.name not in names:
        raise DTypeError(message(op, "dtype", " or ".join(names), repr(dtype)))
    return found


# -- keys -------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Key:
    """What a draw depends on, 128 bits: the same key gives the same numbers.

    Args:
        seed: integer in [0, 2**64): the key of Philox.
        stream: integer in [0, 2**64): the upper half of its counters; the lower half counts within a draw.

    Raises:
        ArgumentError: either is no such integer.
    """

    seed: int
    stream: int = 0

    def __post_init__(self):
        object.__setattr__(self, "seed", _integer("key", "seed", self.seed, 0, LOW64))
        object.__setattr__(self, "stream", _integer("key", "stream", self.stream, 0, LOW64))


def key(seed):
    """The Key of a seed, an integer in [0, 2**64).

    Raises:
        ArgumentError: `seed` is no such integer.
    """
    return Key(seed)


def split(key, n=2):
    """A tuple of n new keys, independent of each other, of `key`, and of what is folded into it.

    Raises:
        ArgumentError: n is negative or no integer.

    Source: the interface of Bradbury et al. 2018, "JAX: composable transformations of Python+NumPy programs".
    """
    return tuple([_derive(key, i, SPLIT) for i in range(_integer("split", "n", n, 0, LOW64))])


def fold_in(key, data):
    """A new key from a key and an integer in [0, 2**64): a step, a worker's rank, an item's index.

    Raises:
        ArgumentError: `data` is no such integer.
    """
    return _derive(key, _integer("fold_in", "data", data, 0, LOW64), FOLD)


def _derive(key, data, purpose):
    """The key that Philox makes of (data, stream) under the key's seed, turned aside for the purpose."""
    a, b, c, d = _philox_on_host(key.seed ^ purpose, data, key.stream)
    return Key(a | b << 32, c | d << 32)


# -- the generator ----------------------------------------------------------------

class Generator:
    """A source of fresh keys: a seed, and how many keys it has given out. Threads may share one.

    Args:
        seed: integer in [0, 2**64).

    Raises:
        ArgumentError: `seed` is no such integer.
    """

    def __init__(self, seed=0):
        self._key, self._draws = Key(seed), 0

    def next_key(self):
        """A key that this generator has not given out before."""
        with _lock:
            parent, draws = self._key, self._draws
            self._draws += 1
        return _derive(parent, draws, NEXT)

    def state(self):
        """{"seed": int, "draws": int}: all there is to know, fit for JSON."""
        with _lock:
            return {"seed": self._key.seed, "draws": self._draws}

    def set_state(self, state):
        """Go on from where `state()` was taken.

        Raises:
            ArgumentError: `state` is not what `state()` gives.
        """
        if not isinstance(state, dict) or set(state) != {"seed", "draws"}:
            raise ArgumentError(message("set_state", "state", "a dict of seed and draws", repr(state)))
        parent, draws = Key(state["seed"]), _integer("set_state", "draws", state["draws"], 0, LOW64)
        with _lock:
            self._key, self._draws = parent, draws


_lock = threading.Lock()                               # one for all: Generators can be copied and pickled
_process_wide = Generator()
_replayed: ContextVar = ContextVar("replayed", default=None)


def default():
    """The Generator that serves where none is named: one for the process, but another inside `at`."""
    return _replayed.get() or _process_wide


def seed(n):
    """Start the default generator again from the seed n, an integer in [0, 2**64).

    Raises:
        ArgumentError: n is no such integer.
    """
    default().set_state({"seed": n, "draws": 0})


@contextmanager
def at(state):
    """Inside, for this thread, the default generator is another that stands at `state`: draws come again.

    Raises:
        ArgumentError: `state` is not what `Generator.state()` gives.
    """
    generator = Generator()
    generator.set_state(state)
    token = _replayed.set(generator)
    try:
        yield generator
    finally:
        _replayed.reset(token)


# -- words ------------------------------------------------------------------------

_compiled: list = []                                   # a function that fills words: (seed, stream, first, words)


def use(compiled=None):
    """Let a compiled function make the words of draws on the host, the same words; None: NumPy makes them."""
    _compiled[:] = [] if compiled is None else [compiled]


def philox(xp, key, first, count):
    """Philox4x32-10 of the counters first, first + 1, ..., modulo 2**64.

    Args:
        first: integer in [0, 2**64), the lower half of the first counter; the upper half is the key's stream.
        count: how many counters.

    Returns:
        (count, 4): uint32 words.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11, section 3.3.
    """
    if xp is np and _compiled:
        words = np.empty((count, 4), dtype="uint32")
        _compiled[0](key.seed, key.stream, first, words)
        return words
    counter = xp.arange(count, dtype="uint64")
    counter += np.uint64(first)
    a = counter & LOW32                                # words 0 and 2 sit in lower halves, 1 and 3 in upper
    b = counter ^ a
    c = xp.full(count, key.stream & LOW32, dtype="uint64")
    d = xp.full(count, np.uint64(key.stream >> 32 << 32), dtype="uint64")
    m, n = MULTIPLIERS
    for j, k in _round_keys(key.seed):                 # in place: these four arrays stay in cache
        a *= m                                         # each product makes the other pair of words:
        c *= n
        b ^= c
        b >>= 32
        b ^= j                                         # its upper half ^ odd word ^ key,
        d ^= a
        d >>= 32
        d ^= k
        a <<= 32                                       # and its lower half
        c <<= 32
        a, b, c, d = b, c, d, a
    words = xp.empty((count, 2), dtype="uint64")
    xp.bitwise_or(a, b, out=words[:, 0])
    xp.bitwise_or(c, d, out=words[:, 1])
    return words.view("uint32")


def _philox_on_host(seed, low, high):
    """The four words of the counter low + 2**64 high, in Python integers."""
    a, b, c, d = low & LOW32, low >> 32, high & LOW32, high >> 32
    m, n = MULTIPLIERS
    for j, k in _round_keys(seed):
        p, q = a * m, c * n
        a, b, c, d = q >> 32 ^ b ^ j, q & LOW32, p >> 32 ^ d ^ k, p & LOW32
    return a, b, c, d


def _round_keys(seed):
    """The ten pairs of words that a seed's two become, round by round."""
    j, k = seed & LOW32, seed >> 32
    s, t = STEPS
    return [(j + i * s & LOW32, k + i * t & LOW32) for i in range(10)]


def _draw(xp, op, key, shape, dtype, word, transform, first=0):
    """An array whose element i, in C order, is `transform` of word first + i of the key's "uint32" or "uint64" words.

    Drawn block by block; as an element depends on its own word alone, the size of a block changes no bit.
    """
    if not isinstance(key, Key):
        raise ArgumentError(message(op, "key", "a Key", repr(key), "Make one with key(seed) or next_key()."))
    shape = shape if isinstance(shape, (tuple, list)) else (shape,)
    out = xp.empty(tuple([_integer(op, "shape", n, 0, 2**63 - 1) for n in shape]), dtype)
    flat, per_counter = out.reshape(-1), 16 // np.dtype(word).itemsize
    size = HOST_BLOCK if xp is np else DEVICE_BLOCK
    for start in range(0, flat.size, size):
        part = flat[start:start + size]
        counter, skipped = divmod(first + start, per_counter)
        words = philox(xp, key, counter, -(-(skipped + part.size) // per_counter))
        part[...] = transform(words.reshape(-1).view(word)[skipped:skipped + part.size])
    return out


def _affine(words, digits, dtype, scale, offset):
    """The first `digits` bits of each word, times scale, plus offset."""
    x = (words >> (8 * words.itemsize - digits)).astype(dtype)
    x *= scale
    x += offset
    return x


# -- draws: equally likely values ---------------------------------------------------
# All take the namespace of the result's library, then a Key.

def bits(xp, key, n):
    """n random words.

    Returns:
        (n): uint32, all 2**32 values equally likely.

    Raises:
        ArgumentError: n is negative or no integer; `key` is not a Key.
    """
    return _draw(xp, "bits", key, n, "uint32", "uint32", lambda words: words)


def uniform(xp, key, shape, low=0.0, high=1.0, dtype="float32"):
    """Numbers in [low, high): one of 2**24 (float64: 2**53) at equal distances.

    Args:
        shape: an integer or a tuple of integers.
        low, high: finite numbers, low < high as numbers of the dtype.
        dtype: float32, float64, float16 or bfloat16; the last two round a float32 draw, never up to `high`.

    Returns:
        shape: of the dtype.

    Raises:
        ArgumentError: low and high are not such numbers, or high - low overflows; a bad shape or key.
        DTypeError: the dtype is not floating.
    """
    dtype = _dtype("uniform", dtype, FLOATS)
    word, drawn, digits = ("uint64", "float64", 53) if dtype.itemsize == 8 else ("uint32", "float32", 24)
    with np.errstate(over="ignore"):                   # (an overflow gives inf, which is refused)
        low, high = dtype.type(low), dtype.type(high)
        last, width = float(np.nextafter(high, low)), float(high) - float(low)
    if not 0 < width <= float(np.finfo(drawn).max):
        raise ArgumentError(message("uniform", "low, high", f"finite {dtype} low < high", f"{low}, {high}"))

    def transform(words):
        x = _affine(words, digits, drawn, width * 2.0**-digits, float(low))
        return xp.minimum(x, last, out=x)              # the sum, or a half type, may be rounded up to high

    return _draw(xp, "uniform", key, shape, dtype, word, transform)


def bernoulli(xp, key, shape, p, first=0):
    """True with probability p, taken to the nearest 2**-31.

    Args:
        shape: an integer or a tuple of integers.
        p: number in [0, 1].
        first: how many elements of the key's draw are left out in front, so that it can be made piece by piece.

    Returns:
        shape: bool.

    Raises:
        ArgumentError: p is outside [0, 1]; a bad shape or key.
    """
    if not 0 <= p <= 1:
        raise ArgumentError(message("bernoulli", "p", "a number in [0, 1]", repr(p)))
    threshold = round(float(p) * 2**31)
    return _draw(xp, "bernoulli", key, shape, "bool", "uint32", lambda words: (words >> 1) < threshold, first)


def integers(xp, key, shape, low, high, dtype="int64"):
    """Integers in [low, high): the upper half of a 64-bit word times n = high - low, plus low.

    Of the 2**64 words each integer gets 2**64 / n, rounded up or down: no probability is
    further than n / 2**64 <= 2**-32 of itself from 1 / n.

    Args:
        shape: an integer or a tuple of integers.
        low, high: integers in the dtype's range (high: one beyond), low < high <= low + 2**32.
        dtype: any of integers.

    Returns:
        shape: of the dtype.

    Raises:
        ArgumentError: low and high are not such integers; a bad shape or key.
        DTypeError: the dtype is not one of integers.

    Source: Lemire 2019, "Fast Random Integer Generation in an Interval", arXiv:1805.10941, without rejection.
    """
    dtype = _dtype("integers", dtype, INTEGERS)
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    low = _integer("integers", "low", low, least, most)
    n = _integer("integers", "high", high, low + 1, min(low + 2**32, most + 1)) - low

    def transform(words):
        lower = words & LOW32
        lower *= n
        lower >>= 32
        upper = words >> 32
        upper *= n
        upper += lower                                 # below 2**64, as n <= 2**32
        upper >>= 32
        x = upper.astype(dtype)                        # this may wrap, and the next line wraps back
        x += dtype.type(low)
        return x

    return _draw(xp, "integers", key, shape, dtype, "uint64", transform)


def permutation(xp, key, n):
    """The integers below n in random order: that of n random 64-bit words.

    Returns:
        (n): int64.

    Raises:
        ArgumentError: n is negative or no integer; `key` is not a Key.
    """
    words = _draw(xp, "permutation", key, n, "uint64", "uint64", lambda words: words)
    return xp.argsort(words, kind="stable")


# -- draws: by inversion -------------------------------------------------------------

def _invert(xp, op, key, shape, dtype, quantiles):
    """Draws of the distribution whose quantile function takes float64 p in (0, 1) to float64."""
    dtype = _dtype(op, dtype, FLOATS)
    word, drawn, digits = ("uint64", "float64", 52) if dtype.itemsize == 8 else ("uint32", "float32", 32)

    def transform(words):
        p = _affine(words, digits, "float64", 2.0**-digits, 2.0**-(digits + 1))      # exact; neither 0 nor 1
        return quantiles(p).astype(drawn, copy=False)

    return _draw(xp, op, key, shape, dtype, word, transform)


def normal(xp, key, shape, dtype="float32"):
    """Normal numbers of mean 0 and variance 1; none beyond 6.3 (float64: 8.3).

    Args:
        shape: an integer or a tuple of integers.
        dtype: float32, float64, float16 or bfloat16.

    Returns:
        shape: of the dtype.

    Raises:
        ArgumentError: a bad shape or key.
        DTypeError: the dtype is not floating.
    """
    dtype = _dtype("normal", dtype, FLOATS)
    rows = quantile.PPND16 if dtype.itemsize == 8 else quantile.PPND7
    return _invert(xp, "normal", key, shape, dtype, lambda p: quantile.normal(xp, p, *rows))


def truncated_normal(xp, key, shape, low=-2.0, high=2.0, dtype="float32"):
    """Normal numbers (mean 0, variance 1) under the condition that they lie in [low, high].

    Args:
        shape: an integer or a tuple of integers.
        low, high: numbers, low < high; may be infinite.
        dtype: float32, float64, float16 or bfloat16.

    Returns:
        shape: of the dtype, within the limits as numbers of that dtype.

    Raises:
        ArgumentError: low >= high, or nothing is likely to lie between (beyond 13, say); a bad shape or key.
        DTypeError: the dtype is not floating.
    """
    low, high = float(low), float(high)
    sign = -1.0 if low + high > 0 else 1.0             # into the lower tail: small probabilities are exact
    start, end = sorted((quantile.normal_cdf(sign * low), quantile.normal_cdf(sign * high)))
    if not (low < high and start < end):
        expected = "low < high, not both far out in one tail"
        raise ArgumentError(message("truncated_normal", "low, high", expected, f"{low}, {high}"))

    def quantiles(p):
        z = sign * quantile.normal(xp, p * (end - start) + start, *quantile.PPND16)
        return xp.clip(z, low, high)                   # (rounding may have led beyond)

    return _invert(xp, "truncated_normal", key, shape, dtype, quantiles)


def exponential(xp, key, shape, dtype="float32"):
    """Numbers of density exp(-x): above 0 (float16: or 0), mean 1, variance 1; none beyond 23 (float64: 37).

    Args:
        shape: an integer or a tuple of integers.
        dtype: float32, float64, float16 or bfloat16.

    Returns:
        shape: of the dtype.

    Raises:
        ArgumentError: a bad shape or key.
        DTypeError: the dtype is not floating.
    """
    return _invert(xp, "exponential", key, shape, dtype, lambda p: -quantile.log(p))


def gumbel(xp, key, shape, dtype="float32"):
    """Numbers of distribution function exp(-exp(-x)): mean 0.5772, variance 1.645; all within -4 and 37.

    Added to logits they make the place of the largest sum a sample of the softmax.

    Args:
        shape: an integer or a tuple of integers.
        dtype: float32, float64, float16 or bfloat16.

    Returns:
        shape: of the dtype.

    Raises:
        ArgumentError: a bad shape or key.
        DTypeError: the dtype is not floating.

    Source: Gumbel 1954, "Statistical Theory of Extreme Values and Some Practical Applications".
    """
    return _invert(xp, "gumbel", key, shape, dtype, lambda p: -quantile.log(-quantile.log(p)))
