"""What every op must do. tests/ops/test_every_op.py runs all of it on every sample of every op.

A sample is what an op's `@op.samples` generator yields: a tuple of the inputs
(arrays, None, or for a sequence a list of arrays) and then the parameters in
order; a last dict holds parameters by name.
"""
import numpy as np

from .. import autograd
from ..autograd import gradients
from ..backend import random
from ..dtypes import HALVES, is_float
from ..op import Fused, as_tensor
from ..tensor import Tensor


class Make:
    """Makes sample arrays: float64, seeded, and kept off kinks and poles."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape):
        """Standard normal."""
        return np.asarray(self.rng.standard_normal(shape))

    def positive(self, *shape):
        """Uniform in [0.5, 2)."""
        return np.asarray(self.rng.uniform(0.5, 2.0, shape))

    def unit(self, *shape):
        """Uniform in [0.05, 0.95): probabilities."""
        return np.asarray(self.rng.uniform(0.05, 0.95, shape))

    def distinct(self, *shape):
        """No two elements nearer than 1/4, and none nearer than 1/8 to 0."""
        n = int(np.prod(shape))
        return (self.rng.permutation(n) - n // 2).reshape(shape) / 4.0 + 0.125

    def integers(self, high, *shape):
        """Uniform int64 in [0, high)."""
        return np.asarray(self.rng.integers(0, high, shape))

    def bools(self, *shape):
        """Fair coins."""
        return np.asarray(self.rng.random(shape) < 0.5)

    def key(self, number=0):
        """A random key."""
        return random.key(number)


def samples(op):
    """[(inputs, parameters by name)] of an op."""
    assert op.sampler, f"op {op.name!r} has no samples: add `@{op.name}.samples`"
    found = []
    for sample in op.sampler(Make()):
        named = sample[-1] if isinstance(sample[-1], dict) else {}
        sample = sample[:-1] if isinstance(sample[-1], dict) else sample
        n = len(op.inputs)
        inputs = (*sample[:n], *[None] * (n - len(sample)))
        found.append((inputs, {**dict(zip(op.params, sample[n:])), **named}))
    assert found, f"op {op.name!r}: its samples yield nothing"
    return found


def mapped(function, inputs):
    """`function` of every array among the inputs; None stays."""
    return [i if i is None else [function(a) for a in i] if isinstance(i, list) else function(i) for i in inputs]


def outputs(result):
    """A tuple of an op's outputs."""
    return result if isinstance(result, tuple) else (result,)


def _leaves(inputs):
    """Float inputs as leaves, the others as tensors; and the leaves alone."""
    live = []

    def leaf(a):
        tensor = Tensor(np.array(a), requires_grad=is_float(np.asarray(a).dtype))
        live.extend([tensor] if tensor.requires_grad else [])
        return tensor

    return mapped(leaf, inputs), live


def _weights(outs, seed):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(y.shape)).astype(y.dtype) for y in outs if is_float(y.dtype)]


def _weighted(outs, weights):
    """One scalar from all outputs that can have a gradient."""
    terms = [(y * v).sum() for y, v in zip([y for y in outs if is_float(y.dtype)], weights)]
    return sum(terms[1:], terms[0])


def check_gradient(op, inputs, params, order=1, eps=1e-6, tol=1e-5):
    """<v, J u>: analytic against central difference, along random u and v.

    One random direction costs two forward passes whatever the size, and misses
    a wrong Jacobian with probability zero.
    """
    if not op.differentiable:
        found, live = _leaves(inputs)
        assert not any(y.requires_grad for y in outputs(op(*found, **params))), f"[{op.name}] says it has no gradient"
        return
    tensors, live = _leaves(inputs)
    rng = np.random.default_rng(7)
    v = _weights(outputs(op(*tensors, **params)), 1)
    weights = [np.asarray(rng.standard_normal(t.shape)) for t in live]
    u = [np.asarray(rng.standard_normal(t.shape)) for t in live]

    def scalar(parts, n):
        it = iter(parts)
        filled = mapped(lambda t: next(it) if t.requires_grad else t, tensors)
        y = _weighted(outputs(op(*filled, **params)), v)
        if n == 1:
            return y
        assert y.requires_grad, f"[{op.name}] has no gradient, and does not say differentiable=False"
        gs = gradients(y, parts, create_graph=True)
        terms = [(g * w).sum() for g, w in zip(gs, weights) if g is not None]
        return sum(terms[1:], terms[0])

    out = scalar(live, order)
    assert order > 1 or out.requires_grad, f"[{op.name}] has no gradient, and does not say differentiable=False"
    found = gradients(out, live) if out.requires_grad else ()           # () : constant, as d2 of a linear op
    exact = sum(float((g.data * d).sum()) for g, d in zip(found, u) if g is not None)
    for g, t in zip(found, live):
        assert g is None or g.dtype == t.dtype and g.shape == t.shape, f"[{op.name}] gradient {g.dtype} {g.shape}"

    def at(step):
        moved = [Tensor(np.asarray(t.data + step * d), requires_grad=True) for t, d in zip(live, u)]
        return float(scalar(moved, order).data)

    numeric = (at(eps) - at(-eps)) / (2 * eps)
    assert abs(exact - numeric) <= tol * (1 + abs(numeric)), \
        f"[{op.name}] order-{order} gradient: analytic {exact:.9g}, numeric {numeric:.9g}"


def check_second_gradient(op, inputs, params):
    """The same of the gradient."""
    if op.differentiable:
        check_gradient(op, inputs, params, order=2, tol=1e-4)


def check_rungs(op, inputs, params, tol=1e-10):
    """A fused op's closed form agrees with its definition, value and gradient."""
    if not isinstance(op, Fused) or op.closed_form is None:
        return
    tensors, live = _leaves(inputs)
    fast = outputs(op(*tensors, **params))
    defined = outputs(op.fn(*tensors, **params))
    for a, b in zip(fast, defined, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a.data, b.data, rtol=tol, atol=tol)
    if live and op.differentiable:
        v = _weights(fast, 2)
        for a, b in zip(gradients(_weighted(fast, v), live), gradients(_weighted(defined, v), live)):
            a, b = (np.zeros(()) if t is None else t.data for t in (a, b))
            np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def _untaped(op, inputs, params):
    with autograd.record(False):
        return outputs(op(*mapped(as_tensor, inputs), **params))


def check_strides(op, inputs, params):
    """Non-contiguous, reversed and read-only broadcast inputs give what contiguous ones give, and stay as they were."""
    def strided(a):
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype) if a.ndim else a
        if a.ndim:
            wide[..., ::2] = a
            wide = wide[..., ::2]
        return wide

    def reversed_(a):
        return a[..., ::-1].copy()[..., ::-1] if a.ndim else a

    def fortran(a):
        return np.asfortranarray(a) if a.ndim else a

    before = mapped(np.copy, inputs)
    want = _untaped(op, inputs, params)
    for awkward in (strided, reversed_, fortran):
        for a, b in zip(_untaped(op, mapped(awkward, inputs), params), want):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-12)
    for now, then in zip(inputs, before):
        np.testing.assert_equal(now, then)


def check_dtypes(op, inputs, params):
    """float32 and half types in: the same out, close to the float64 answer, and so the gradients."""
    want = _untaped(op, inputs, params)
    shared = [slot.kind in ("same", "float") for slot in op.contract.inputs]
    floats = [a for i, s in zip(inputs, shared) if s and i is not None for a in (i if isinstance(i, list) else [i]) if is_float(a.dtype)]
    if not floats:
        return
    for dtype, tol in (("float32", 1e-4), *[(h, 0.06 if h == "float16" else 0.3) for h in sorted(HALVES, key=str)]):
        cast = [mapped(lambda a: a.astype(dtype) if is_float(a.dtype) else a, [i])[0] if s else i for i, s in zip(inputs, shared)]
        got = _untaped(op, cast, params)
        exact = want if dtype == "float32" else _untaped(op, mapped(
            lambda a: a.astype("float64") if is_float(a.dtype) else a, cast), params)
        for a, b in zip(got, exact):
            if is_float(b.dtype):
                assert a.dtype == dtype, f"[{op.name}] {dtype} in, {a.dtype} out"
                scale = np.abs(b.data[np.isfinite(b.data)]).max(initial=1.0)
                np.testing.assert_allclose(a.data.astype("float64"), b.data, rtol=tol, atol=tol * scale)
        tensors, live = _leaves(cast)
        outs = outputs(op(*tensors, **params))
        if op.differentiable and any(y.requires_grad for y in outs):
            for g in gradients(_weighted(outs, _weights(outs, 1)), live):
                assert g is None or g.dtype == dtype, f"[{op.name}] {dtype} in, gradient {g.dtype}"


CHECKS = {
    "gradient": check_gradient,
    "second_gradient": check_second_gradient,
    "rungs": check_rungs,
    "strides": check_strides,
    "dtypes": check_dtypes,
}
