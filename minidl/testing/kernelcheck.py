"""What every kernel must do: agree with its op, within a budget that the op's reference sets.

A kernel may be twice as far from the float64 truth as the reference in the kernel's own dtype is, plus four
roundings. It gives every gradient, writes to none of its inputs, and gives the same bits twice.

Source: the budget: the tests of Dao 2023, "FlashAttention-2", arXiv:2307.08691.
"""
from contextlib import nullcontext
from functools import cached_property

import ml_dtypes
import numpy as np

from .. import backend, dispatch
from ..autograd import _sum_to, record
from ..dispatch import Kernel, use_kernels
from ..dtypes import is_float
from ..kernels import cpu
from ..op import Fused, as_tensor
from .opcheck import leaves, moved, pull, seeds_for
from .samples import flat, frozen, mapped, outputs

# device -> the dtypes that its kernels are asked for
DTYPES = {"cpu": ("float32", "float64"), "cuda": ("float32", "float16", "bfloat16")}


def _cast(inputs, dtype):
    return mapped(lambda a: frozen(a.astype(dtype)) if is_float(a.dtype) else frozen(a), inputs)


def _definition(op):
    """The op's first rung."""
    return op.fn if isinstance(op, Fused) else op.function


def _by_definition(op, inputs, params, seeds):
    """(outputs, gradients) by the op's first rung: no closed form, no kernel."""
    tensors, live = leaves(inputs)
    with use_kernels("off"):
        outs = outputs(_definition(op)(*tensors, **params))
        found = iter(pull(outs, seeds, live))
    gradients = [next(found) if t is not None and t.requires_grad else None for t in tensors]
    return [y.data for y in outs], gradients


def _host(arrays):
    """On the host; None and numbers pass."""
    return [backend.to_host(a) if backend.is_array(a) else a for a in arrays]


def _by_kernel(kernel, op, inputs, params, seeds):
    """(outputs, gradients) as the engine would call the kernel; arrays go to its device and come back."""
    if kernel.device == "cpu":
        return _called(kernel, op, inputs, params, seeds)
    there, sown = mapped(moved, inputs), [None if s is None else moved(s) for s in seeds]
    outs, gradients = _called(kernel, op, there, {n: moved(v) for n, v in params.items()}, sown)
    for name, before, after in zip(("inputs", "gradients"), (flat(inputs), flat(seeds)), (flat(there), flat(sown))):
        same = all(a.tobytes() == b.tobytes() for a, b in zip(before, _host(after)))
        assert same, f"[{kernel.name}] {name}: expected to be left as they were"
    return _host(outs), _host(gradients)


def _called(kernel, op, inputs, params, seeds):
    xp = backend.namespace(flat(inputs)[0])
    named = {n: params[n] for n in op.keyword_only}
    result = kernel.forward(xp, *inputs, *[params[n] for n in op.params if n not in named], **named)
    several = op.contract.several
    if isinstance(op, Fused):
        out, kept = result
        parts = kernel.backward(xp, seeds if several else seeds[0], kept, *inputs, **params)
    else:
        out = result
        if kernel.backward is None:
            return list(out) if several else [out], []
        known = {"out": out, **dict(zip(op.inputs, inputs)), **params,
                 **{f"{n}_shape": a.shape for n, a in zip(op.inputs, inputs) if a is not None}}
        parts = kernel.backward(xp, seeds[0], **{n: known[n] for n in op.wants})
    parts = parts if isinstance(parts, tuple) else (parts,)
    wanted = [a is not None and is_float(a.dtype) for a in inputs]
    parts = [None if not want else part() if callable(part) else part for part, want in zip(parts, wanted)]
    gradients = [_sum_to(p, a.shape) if want and p is not None and p.shape != a.shape else p
                 for p, a, want in zip(parts, inputs, wanted)]         # (as the walk does)
    return list(out) if several else [out], gradients


def check_kernel(kernel, op, inputs, params, dtype="float32", again=nullcontext):
    """A kernel against its op on one sample: values, every gradient, inputs untouched, same bits twice.

    Args:
        kernel: of minidl/dispatch.py; for "cuda" there is such a device, or the double with simulated().
        op: whose kernel it is.
        inputs, params: a sample (minidl/testing/samples.py).
        dtype: of the floating inputs; half types are compared with the reference in float32, rounded.
        again: gives the context of the second run.

    Returns:
        (outputs, gradients): the kernel's.

    Raises:
        AssertionError: names the kernel, the output or gradient, and what is wrong.
    """
    why_not = reason(kernel, op, inputs, params, dtype)
    assert why_not is None, f"[{kernel.name}] refuses: {why_not}"
    want = Expectation(op, inputs, params, dtype)
    try:
        got = want.by(kernel)
        with again():
            same = want.by(kernel)
    except ValueError as error:                        # (inputs and gradients are read-only)
        wrote = "read-only" in str(error)
        assert not wrote, f"[{kernel.name}] inputs: expected to be left as they were, got {error}"
        raise
    want.compare(kernel, got)
    for name, a, twice in zip(sum(want.names, []), sum(got, []), sum(same, [])):
        fixed = a is None or not kernel.deterministic or a.tobytes() == twice.tobytes()
        assert fixed, f"[{kernel.name}] {name}: expected the same bits twice"
    return got


class Expectation:
    """What an op gives for a sample, in float64 and in the dtype (half types in float32): by its first rung."""

    def __init__(self, op, inputs, params, dtype):
        self.op, self.dtype, self.params, self.own = op, dtype, {**op.params, **params}, _cast(inputs, dtype)
        with record(False), use_kernels("off"):
            outs = outputs(_definition(op)(*mapped(as_tensor, _cast(inputs, "float64")), **self.params))
        self.seeds = [s if s is None else frozen(s.astype(dtype)) for s in seeds_for(outs)]
        self.names = [f"output {i}" for i in range(len(outs))], [f"gradient of {n}" for n in op.inputs]

    @cached_property
    def answers(self):
        """(truth, reference), each (outputs, gradients)."""
        wide = "float32" if ml_dtypes.finfo(self.dtype).bits < 32 else self.dtype
        return [_by_definition(self.op, _cast(self.own, w), self.params, _cast(self.seeds, w))
                for w in ("float64", wide)]

    def by(self, kernel):
        """(outputs, gradients) by a kernel."""
        return _by_kernel(kernel, self.op, self.own, self.params, self.seeds)

    def compare(self, kernel, got, digits=None):
        """Is what a kernel gave within the budget, that of the dtype or of one with other `digits`?

        Raises:
            AssertionError: it is not.
        """
        for rows in map(zip, self.names, got, *self.answers):
            for name, a, b, c in rows:
                if b is not None:
                    _compare(f"[{kernel.name}] {name}: expected", a, b, c, self.dtype, digits or self.dtype)


def reason(kernel, op, inputs, params, dtype):
    """Why the kernel does not serve a sample in `dtype`, or None."""
    own, params = _cast(inputs, dtype), {**op.params, **params}
    if kernel.device != "cpu":
        own, params = mapped(moved, own), {n: moved(v) for n, v in params.items()}
    return kernel.refuses(tuple(own), params)


def bits(kernel, op, inputs, params, dtype):
    """Outputs and gradients of a kernel, as bytes; the seeds are those of the op."""
    return _as_bytes(Expectation(op, inputs, params, dtype).by(kernel))


def _as_bytes(found):
    outs, gradients = found
    return [None if a is None else a.tobytes() for a in outs + gradients]


def check_threads(kernel, op, inputs, params, dtype="float32"):
    """The same bits at 1, 2 and 3 threads.

    Raises:
        AssertionError: they differ.
    """
    before = cpu.threads()
    try:
        found = []
        for n in (1, 2, 3):
            cpu.set_threads(n)
            found.append(bits(kernel, op, inputs, params, dtype))
    finally:
        cpu.set_threads(before)
    same = not kernel.deterministic or found[0] == found[1] == found[2]
    assert same, f"[{kernel.name}] threads: expected the same bits at 1, 2 and 3"


def check_layout(kernel, op, inputs, params, dtype="float32", found=None):
    """The same bits for arrays that are not contiguous (as `found`, if that is known); or a refusal.

    Raises:
        AssertionError: they differ.
    """
    def spread(a):
        wide = np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a
        return wide.swapaxes(0, -1).copy().swapaxes(0, -1) if a.ndim > 1 else wide

    apart = mapped(spread, inputs)
    if reason(kernel, op, apart, params, dtype) is None:
        want = _as_bytes(found) if found else bits(kernel, op, inputs, params, dtype)
        same = want == bits(kernel, op, apart, params, dtype)
        assert same, f"[{kernel.name}] layout: expected the same bits for strided arrays"


def check_engine(kernel, op, inputs, params, dtype="float32", found=None):
    """Called by way of the engine, the kernel gives what it gives by itself (`found`, if that is known).

    Raises:
        AssertionError: another kernel or the reference ran, or gradients went astray.
    """
    params, own = {**op.params, **params}, _cast(inputs, dtype)
    first = own[0][0] if op.contract.inputs[0].many else own[0]
    others = [k for k in dispatch.TABLE[op.name, kernel.device] if k is not kernel]
    ahead = [k for k in others if reason(k, op, inputs, params, dtype) is None]
    if ahead or first.size < dispatch.least(op.name, kernel.device):
        return
    to = moved if kernel.device != "cpu" else (lambda value: value)
    tensors, live = leaves(mapped(to, own))
    outs = outputs(op.function(*tensors, **{n: to(v) for n, v in params.items()}))
    seeds = seeds_for(outs)
    gradients = pull(outs, [None if s is None else to(s) for s in seeds], live) \
        if live and (kernel.backward or isinstance(op, Fused)) else []
    expected, _ = found or _by_kernel(kernel, op, own, params, seeds)
    for got, wanted in zip(outs, expected):
        same = backend.to_host(got.data).tobytes() == wanted.tobytes()
        assert same, f"[{kernel.name}] engine: expected the kernel's own bits"
    assert all(g is None or g.shape == t.shape for g, t in zip(gradients, live)), f"[{kernel.name}] shapes"


def _compare(expected, got, truth, reference, dtype, digits):
    """Is `got` as near to the truth as the budget allows?"""
    assert got is not None, f"{expected} a gradient, got None"
    fits = got.shape == truth.shape and got.dtype == (dtype if is_float(truth.dtype) else truth.dtype)
    assert fits, f"{expected} {dtype} {truth.shape}, got {got.dtype} {got.shape}"
    allowed = np.abs(reference.astype(digits).astype("float64") - truth).max(initial=0)
    budget = 2 * allowed + 4 * float(ml_dtypes.finfo(digits).eps) * (1 + np.abs(truth).max(initial=0))
    error = np.abs(got.astype("float64") - truth).max(initial=0)
    assert error <= budget, f"{expected} an error of at most {budget:.2g}, got {error:.2g}"


def check_closed_form(op, inputs, params):
    """A fused op's closed form, taken for a kernel in float32."""
    if isinstance(op, Fused) and op.closed_form and op.rule:
        kernel = Kernel(f"{op.name}.closed", op.name, "cpu", op.closed_form, op.rule, lambda *_: None)
        check_kernel(kernel, op, inputs, params)


CHECKS = {"closed_form": check_closed_form}
