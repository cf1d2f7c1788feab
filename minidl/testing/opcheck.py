"""What every op must do: tests/ops/test_every_op.py runs all of it on every sample of every op.

There is no list of exceptions: what an op cannot do its declaration says (`differentiable=False`,
`deterministic=False`, `synchronises=True`, the contract's kinds), and that is checked.
"""
import re
import warnings
from contextlib import contextmanager

import ml_dtypes
import numpy as np

from .. import autograd, backend, door
from ..autograd import gradients
from ..dtypes import HALVES, float32, float64, is_float
from ..errors import ArgumentError, DTypeError, MinidlError
from ..guests import flops
from ..op import Fused, as_tensor
from ..tensor import Tensor
from . import cupy_double
from .samples import flat, frozen, mapped, outputs

# -- running an op ---------------------------------------------------------------------

def leaves(inputs, wanted=lambda i: True):
    """(tensors, live): floating inputs as leaves, the others as tensors; and the leaves alone.

    `wanted(i)`: should the i-th floating one be a leaf?
    """
    live, count = [], iter(range(10**6))

    def leaf(array):
        tensor = Tensor(array, requires_grad=is_float(array.dtype) and wanted(next(count)))
        live.extend([tensor] if tensor.requires_grad else [])
        return tensor

    return mapped(leaf, inputs), live


def seeds_for(outs, seed=1):
    """Random gradients, read-only, of the outputs that can have one; None for the others."""
    rng = np.random.default_rng(seed)
    return [frozen(rng.standard_normal(y.shape).astype(y.dtype)) if is_float(y.dtype) else None for y in outs]


def pull(outs, seeds, live, **how):
    """Gradients (arrays; with create_graph tensors; or None) of `live` from those of `outs`, by the walk."""
    roots = [(y.node, as_tensor(s)) for y, s in zip(outs, seeds) if y.node is not None]
    found = autograd.walk(roots, ends=[t.node for t in live], **how) if roots else {}
    return [found[t.node.seq][1] if t.node.seq in found else None for t in live]


def run(op, inputs, params, arrange=frozen):
    """(outputs, gradients), all arrays: one call and one walk back, from seeds that `arrange` lays out."""
    tensors, live = leaves(inputs)
    outs = outputs(op(*tensors, **params))
    seeds = [None if s is None else arrange(s) for s in seeds_for(outs)]
    return [y.data for y in outs], pull(outs, seeds, live)


def close(op, what, got, want, rtol, atol=None, floor=0.0):
    """Equal but for rounding, measured against the largest element or `floor`. A gradient of None is 0."""
    got, want = (np.zeros(()) if a is None else np.asarray(a) for a in (got, want))
    if is_float(want.dtype):
        got, want = got.astype(float64), want.astype(float64)
        scale = np.abs(want[np.isfinite(want)]).max(initial=floor)
        atol = scale * (rtol if atol is None else atol)
        np.testing.assert_allclose(got, want, rtol, atol, err_msg=f"[{op.name}] {what}")
    else:
        np.testing.assert_array_equal(got, want, f"[{op.name}] {what}")


@contextmanager
def quiet():
    """Nothing is said about 0/0 and overflow."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


# -- gradients -------------------------------------------------------------------------

def _weighted(outs, weights):
    """One scalar from all outputs that can have a gradient."""
    terms = [(y * w).sum() for y, w in zip(outs, weights) if w is not None and y is not None]
    return sum(terms, Tensor(np.zeros(())))


def check_gradient(op, inputs, params, order=1, eps=1e-6, tol=1e-5):
    """<v, J u>: analytic against central difference, along random u and v.

    One random direction costs two forward passes whatever the size, and misses
    a wrong Jacobian with probability zero.
    """
    tensors, live = leaves(inputs)
    outs = outputs(op(*tensors, **params))
    if not live or not op.differentiable:
        assert not any(y.requires_grad for y in outs), f"[{op.name}] has a gradient, but no use for it"
        return
    assert any(y.requires_grad for y in outs), f"[{op.name}] has no gradient, but not differentiable=False"
    rng = np.random.default_rng(7)
    v = seeds_for(outs)
    w, u = ([np.asarray(rng.standard_normal(t.shape)) for t in live] for _ in range(2))

    def scalar(parts):
        it = iter(parts)
        given = mapped(lambda t: next(it) if t.requires_grad else t, tensors)
        y = _weighted(outputs(op(*given, **params)), v)
        return y if order == 1 else _weighted(gradients(y, parts, create_graph=True), w)

    out = scalar(live)
    found = gradients(out, live) if out.requires_grad else ()           # () : constant, as d2 of a linear op
    for g, t in zip(found, live):
        assert g is None or (g.dtype, g.shape) == (t.dtype, t.shape), f"[{op.name}] gradient {g} of {t}"
    exact = sum([float((g.data * d).sum()) for g, d in zip(found, u) if g is not None])

    def at(step):
        there = [Tensor(np.asarray(t.data + step * d), requires_grad=True) for t, d in zip(live, u)]
        return float(scalar(there).data)

    numeric = (at(eps) - at(-eps)) / (2 * eps)
    assert abs(exact - numeric) <= tol * (1 + abs(numeric)), \
        f"[{op.name}] order-{order} gradient: analytic {exact:.9g}, numeric {numeric:.9g}"


def check_second_gradient(op, inputs, params):
    """The same of the gradient."""
    check_gradient(op, inputs, params, order=2, tol=1e-4)


def check_paths(op, inputs, params, tol=1e-9):
    """All ways to walk give the same gradients.

    They are: all inputs wanted; one of several leaves; the only leaf; one output after the other; on the tape
    (a fused op's definition); with a guest at the door.
    """
    def walked(wanted=lambda i: True, **how):
        tensors, live = leaves(inputs, wanted)
        outs = outputs(op(*tensors, **params))
        return pull(outs, seeds_for(outs), live, **how)

    tensors, live = leaves(inputs)
    outs = outputs(op(*tensors, **params))
    seeds = seeds_for(outs)
    want = pull(outs, seeds, live, keep=True)
    ways = {}
    for i, (t, w) in enumerate(zip(live, want)):
        ways[f"input {i} of several"] = pull(outs, seeds, [t], keep=True), [w]
        ways[f"input {i} alone"] = walked(lambda j, i=i: i == j), [w]
    parts = [pull([y], [s], live, keep=True) for y, s in zip(outs, seeds) if y.requires_grad]
    ways["output by output"] = [sum([p for p in column if p is not None]) for column in zip(*parts)], want
    ways["on the tape"] = [g if g is None else g.data for g in walked(create_graph=True)], want
    with door.attach(door.Guest()):
        ways["through the door"] = walked(), want
    for way, (got, wanted) in ways.items():
        for a, b in zip(got, wanted):
            close(op, f"gradient, {way}", a, b, tol)


def check_rungs(op, inputs, params, tol=1e-10):
    """A fused op's closed form agrees with its definition, value and gradient."""
    if not isinstance(op, Fused) or op.closed_form is None:
        return
    tensors, live = leaves(inputs)
    fast, defined = outputs(op(*tensors, **params)), outputs(op.fn(*tensors, **params))
    for a, b in zip(fast, defined, strict=True):
        same = (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad)
        assert same, f"[{op.name}] closed form {a}, definition {b}"
        close(op, "closed form", a.data, b.data, tol)
    seeds = seeds_for(fast)
    for a, b in zip(pull(fast, seeds, live), pull(defined, seeds, live)):
        close(op, "closed form's gradient", a, b, tol)


# -- memory ----------------------------------------------------------------------------

def _strided(a):
    wide = np.zeros((*a.shape, 2), a.dtype)            # something else lies between the elements
    wide[..., 0] = a
    return wide[..., 0]


LAYOUTS = {
    "transposed": lambda a: np.array(a, order="F"),
    "strided": _strided,
    "reversed": lambda a: np.flip(np.flip(a).copy()),
    "repeated": lambda a: np.broadcast_to(a.ravel()[0], a.shape) if a.size else a,         # strides of 0
}


def check_layouts(op, inputs, params, tol=1e-11):
    """Inputs and gradients in whatever order in memory, and read-only, give what contiguous ones give."""
    for name, layout in LAYOUTS.items():
        def awkward(a, layout=layout):
            return frozen(layout(a))

        def plain(a, layout=layout):
            return np.array(layout(a), order="C")

        try:
            want = run(op, mapped(plain, inputs), params, plain)
        except MinidlError as error:                   # (repeated values may be none that the op takes)
            want = type(error)
        try:
            got = run(op, mapped(awkward, inputs), params, awkward)
        except MinidlError as error:
            assert type(error) is want, f"[{op.name}] {name}: {error}"
            continue
        assert type(want) is tuple, f"[{op.name}] {name}: runs, but contiguous it raises {want.__name__}"
        for what, some, others in zip(("output", "gradient"), got, want):
            for a, b in zip(some, others, strict=True):
                close(op, f"{what}, {name}", a, b, tol, floor=1.0)


def check_repeats(op, inputs, params):
    """Same bits twice, and again from the same graph; what was computed stays as it was."""
    def bits(arrays):
        return [None if a is None else (a.dtype, a.shape, a.tobytes()) for a in arrays]

    tensors, live = leaves(inputs)
    outs = outputs(op(*tensors, **params))
    seeds = seeds_for(outs)
    first = bits([y.data for y in outs])
    gradient = bits(pull(outs, seeds, live, keep=True))
    assert bits([y.data for y in outs]) == first, f"[{op.name}] backward changed the output"
    if op.deterministic:
        assert bits(pull(outs, seeds, live)) == gradient, f"[{op.name}] a second walk gives other gradients"
        again = run(op, inputs, params)
        assert list(map(bits, again)) == [first, gradient], f"[{op.name}] a second call gives other bits"


# -- dtypes ----------------------------------------------------------------------------

def _cast(op, inputs, dtype, kinds, which=is_float):
    """The inputs of these kinds, where their dtype is one of `which`, in another dtype."""
    return [mapped(lambda a: a.astype(dtype) if which(a.dtype) else a, [i])[0] if slot.kind in kinds else i
            for i, slot in zip(inputs, op.contract.inputs)]


def check_floats(op, inputs, params):
    """Each floating dtype in, the same out, and the float64 answer but for rounding; likewise gradients."""
    kinds = ("same", "float")
    shared = flat([i for i, slot in zip(inputs, op.contract.inputs) if slot.kind in kinds])
    if not any(is_float(a.dtype) for a in shared):
        return
    for dtype in (float64, float32, *sorted(HALVES, key=str)):
        def rounded(seed, dtype=dtype):
            return seed.astype(dtype).astype(float64)

        with np.errstate(over="ignore"):
            given = _cast(op, inputs, dtype, kinds)
            got, want = run(op, given, params), run(op, _cast(op, given, float64, kinds), params, rounded)
        eps = float(ml_dtypes.finfo(dtype).eps) if dtype in HALVES else 0.0
        for what, rtol, atol, some, others in zip(("output", "gradient"), (eps + 1e-5, 4 * eps + 1e-4),
                                                  (1e-5, 1e-4), got, want):
            for a, b in zip(some, others, strict=True):
                if b is not None and is_float(b.dtype):
                    assert a is None or a.dtype == dtype, f"[{op.name}] {dtype} in, {what} {a.dtype}"
                    with np.errstate(over="ignore"):
                        b = b.astype(dtype)
                close(op, f"{what} in {dtype}", a, b, rtol, atol)


def check_integers(op, inputs, params):
    """Integers and bools in place of floats stay so or are refused; indices may be of any width."""
    slots = op.contract.inputs
    given = [slot.kind for i, slot in zip(inputs, slots) if i is not None]
    for dtype in ("int64", "int32", "uint8", "bool"):
        if "same" in given or "float" in given:
            try:
                with quiet():
                    whole = mapped(lambda a: 1 + np.abs(4 * a) if is_float(a.dtype) else a, inputs)
                    whole = _cast(op, whole, dtype, ("same", "float"), lambda d: True)
                    outs = outputs(op(*mapped(as_tensor, whole), **params))
            except (DTypeError, ArgumentError) as error:           # (NumPy refuses to subtract bools)
                assert re.match(r"\[[a-z]", str(error)), f"[{op.name}] names a private op: {error}"
            else:
                assert "float" not in given, f"[{op.name}] takes {dtype} where the contract says float"
                assert all(y.dtype != float64 for y in outs), f"[{op.name}] {dtype} in, float64 out"
        indices = flat([i for i, slot in zip(inputs, slots) if slot.kind == "int"])
        if dtype == "int32" or dtype == "uint8" and all(a.min(initial=0) >= 0 for a in indices):
            narrow = _cast(op, inputs, dtype, ("int",), lambda d: True)
            for a, b in zip(run(op, narrow, params)[0], run(op, inputs, params)[0]):
                close(op, f"indices in {dtype}", a, b, 0)


# -- elsewhere ---------------------------------------------------------------------------

def moved(value):
    """Inputs or parameters with their arrays on the device."""
    if isinstance(value, Tensor):
        return Tensor(moved(value.data))
    if isinstance(value, (tuple, list)):
        return type(value)([moved(v) for v in value])
    return backend.to_device(value, "cuda") if isinstance(value, np.ndarray) else value


def _everything(op, inputs, params, arrange):
    """(outputs, gradients, second gradients, transfers), from seeds that `arrange` puts in place."""
    tensors, live = leaves(inputs)
    seeds = [s if s is None else arrange(s) for s in seeds_for(outputs(op(*tensors, **params)))]
    with cupy_double.counting() as transfers:
        outs = outputs(op(*tensors, **params))
        first = pull(outs, seeds, live, keep=True)
        taped = pull(outs, seeds, live, create_graph=True)
        taped = [g for g in taped if g is not None and g.requires_grad]
        second = pull(taped, [g.data for g in taped], live)
    return [y.data for y in outs], first, second, transfers


def check_device(op, inputs, params):
    """On the CuPy double: what NumPy gives; no transfer but those declared, forward and twice backward."""
    waits = op.synchronises
    if callable(waits):
        waits = waits(**{**op.params, **params})
    halves = _cast(op, inputs, "float16", ("same", "float"))
    for given, tol in ((inputs, 1e-12), (halves, 4e-3)):
        with cupy_double.installed(), np.errstate(over="ignore"):
            *want, _ = _everything(op, given, params, frozen)
            there = {n: moved(v) for n, v in params.items()}
            *got, transfers = _everything(op, mapped(moved, given), there, moved)
            for what, some, others in zip(("output", "gradient", "second gradient"), got, want):
                for a, b in zip(some, others, strict=True):
                    if a is not None:
                        found, wanted = (backend.device(a), a.dtype), ("cuda:0", b.dtype)
                        assert found == wanted, f"[{op.name}] {what}: {found}, on NumPy {b.dtype}"
                    close(op, f"{what} on the device", a if a is None else backend.to_host(a), b, tol)
        assert bool(transfers.total) == bool(waits), f"[{op.name}] synchronises={waits}, but {transfers}"


def check_cost(op, inputs, params):
    """What an op says of its FLOPs is a number, and not negative."""
    cost = flops(op, mapped(as_tensor, inputs), params)
    assert cost >= 0, f"[{op.name}] cost: {cost} FLOPs"


CHECKS = {
    "gradient": check_gradient,
    "second_gradient": check_second_gradient,
    "paths": check_paths,
    "rungs": check_rungs,
    "layouts": check_layouts,
    "repeats": check_repeats,
    "floats": check_floats,
    "integers": check_integers,
    "device": check_device,
    "cost": check_cost,
}
