"""What an op's contract promises, tried out: tests/ops/test_every_op.py runs all of it.

From the one line of a contract come shapes that satisfy it, and every way to break it: an axis that is one
too long, an axis too few, a dtype of the wrong kind, None, an array on another device.
"""
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np

from .. import backend
from ..errors import DeviceError, DTypeError, MinidlError, ShapeError
from ..op import as_tensor
from ..shapes import _code, _match
from .cupy_double import installed
from .opcheck import leaves, pull, quiet, seeds_for
from .samples import flat, frozen, mapped, outputs, samples


def attempt(op, tensors, params):
    """The outputs; None where the op refuses, in the name of itself or of another public one."""
    try:
        return outputs(op(*tensors, **params))
    except MinidlError as refusal:
        assert re.match(r"\[[A-Za-z]", str(refusal)), f"[{op.name}] refuses in a private name: {refusal}"


# -- what comes out ----------------------------------------------------------------------

def splits(op, inputs):
    """(env, [(lead, named axes)]): the sizes of the contract's symbols, and what it says of the inputs' axes.

    For calls that the contract refuses and the op takes otherwise: (None, any axes).
    """
    shapes = {n: i.shape if isinstance(i, np.ndarray) else [a.shape for a in i]
              for n, i in zip(op.inputs, inputs) if i is not None}
    try:
        return op.contract.bind(op.name, shapes), [named(slot) for slot in op.contract.inputs]
    except ShapeError:
        assert op.fallback, f"[{op.name}] takes {shapes}, which its contract {op.contract_text!r} refuses"
        return None, [("_", ())] * len(inputs)


def named(slot):
    """(lead, the axes with symbols or numbers): what `slot.split()` gives, less any trailing axes."""
    lead, tail = slot.split()
    return lead, tail[:-1] if has_rest(slot) else tail


def has_rest(slot):
    """Does the slot take any trailing axes?"""
    return len(slot.dims) > 1 and slot.dims[-1] == "_"


def check_fits(op, inputs, params, outs=None):
    """What comes out has the shape that the contract says."""
    env, _ = splits(op, inputs)
    outs = outputs(op(*mapped(as_tensor, inputs), **params)) if outs is None else outs
    promised = op.contract.outputs
    assert len(outs) == len(promised) or op.contract.several and len(outs) >= len(promised) - 1, \
        f"[{op.name}] {len(outs)} outputs, {len(promised)} in the contract"
    for y, slot in zip(outs, promised if env is not None else ()):
        lead, tail = slot.split()
        try:
            _match(op.name, slot, y.shape, env, dict.fromkeys(env, "the inputs"))
        except ShapeError as error:
            raise AssertionError(f"[{op.name}] breaks its contract {op.contract_text!r}: {error}") from None
        if lead == "...":
            batch = y.shape[:y.ndim - len(tail)]
            assert batch == env["..."], f"[{op.name}] leading axes {batch}, the inputs' give {env['...']}"


# -- empty axes --------------------------------------------------------------------------

def axes_of(op, inputs):
    """{what binds them together: [(input, axis)]}: the inputs' axes by symbols and leading axes."""
    groups: dict = {}
    for n, ((lead, tail), value) in enumerate(zip(splits(op, inputs)[1], inputs)):
        array = max(flat([value]), key=np.ndim, default=np.zeros(()))
        extra = array.ndim - len(tail) if lead else 0
        for axis in range(array.ndim):
            if extra <= axis < extra + len(tail):
                key = tail[axis - extra].lstrip("0123456789")          # "" of a number
            else:
                key = (lead, {"*": axis, "...": axis - extra}.get(lead, (n, axis)))
            if key and not (lead == "..." and axis < extra and array.shape[axis] == 1):
                groups.setdefault(key, []).append((n, axis))
    return groups


def _without(inputs, places):
    """The inputs with nothing left along some axes."""
    inputs = list(inputs)
    for n, axis in places:
        def empty(a, nothing=(slice(None),) * axis + (slice(0, 0),)):
            return a[nothing] if a.ndim >= len(nothing) else a
        inputs[n], = mapped(empty, [inputs[n]])
    return inputs


def _without_leads(op, inputs):
    """The inputs without their leading axes."""
    def core(kind, value):
        lead, tail = kind

        def first(a):
            extra = a.ndim - len(tail) if lead else 0
            return a[(0,) * extra] if 0 not in a.shape[:extra] else np.zeros(a.shape[extra:], a.dtype)
        return mapped(first, [value])[0]

    return list(map(core, splits(op, inputs)[1], inputs))


def check_empties(op, inputs, params):
    """Each axis empty in turn, and no leading axes: it runs and gives the right shapes, or says why not."""
    variants = [_without(inputs, places) for places in axes_of(op, inputs).values()]
    for given in [*variants, _without_leads(op, inputs)]:
        given = mapped(frozen, given)
        tensors, live = leaves(given)
        with quiet():
            outs = attempt(op, tensors, params)
            if outs is None:
                continue
            check_fits(op, given, params, outs)
            for g, t in zip(pull(outs, seeds_for(outs), live), live):
                fits = g is None or (g.shape, g.dtype) == (t.shape, t.dtype)
                assert fits, f"[{op.name}] gradient {g.dtype} {g.shape} of {t.dtype} {t.shape}"


# -- shapes from the contract --------------------------------------------------------------

@st.composite
def conforming(draw, contract, like):
    """Shapes that satisfy a contract, one per input (a list for a sequence), None where `like` has None."""
    batches = st.lists(st.integers(0, 3), max_size=2).map(tuple)
    star, whole, env = draw(batches), draw(batches), {}

    def part_of_whole():
        """One of the shapes that broadcast to `whole`."""
        kept = whole[draw(st.integers(0, len(whole))):]
        return tuple([draw(st.sampled_from([1, n])) for n in kept])

    def shape_of(slot):
        lead, tail = named(slot)
        for symbol in tail:
            if not symbol[0].isdigit() and symbol not in env:
                env[symbol] = draw(st.integers(0, 3))
        batch = {"*": lambda: star, "...": part_of_whole, "_": lambda: draw(batches), None: tuple}[lead]()
        rest = draw(batches) if has_rest(slot) else ()
        return (*batch, *[eval(_code(symbol), {}, env) for symbol in tail], *rest)

    return [None if value is None else
            [shape_of(slot) for _ in range(draw(st.integers(1, 3)))] if slot.many else shape_of(slot)
            for slot, value in zip(contract.inputs, like)]


def arrays(op, shapes, like):
    """Arrays of these shapes with the dtypes of `like`: 1 everywhere, but for indices 0."""
    def array(slot, shape, value):
        if slot.many:
            return [np.ones(one, value[0].dtype) for one in shape]
        return None if shape is None else np.full(shape, 0 if slot.kind == "int" else 1, value.dtype)

    return list(map(array, op.contract.inputs, shapes, like))


# -- every way to break it -----------------------------------------------------------------

def _longer(a, axis):
    shape = list(a.shape)
    shape[axis] += 1 if shape[axis] else 2             # (an axis of 1 would broadcast)
    return np.ones(shape, a.dtype)


def _resized(op, given):
    """One axis longer than what else has its name."""
    for key, places in axes_of(op, given).items():
        for n, axis in places:
            if op.contract.inputs[n].many:
                first, *others = given[n]
                if any(other.shape == first.shape != () for other in others) and key[0] != "_":
                    longer = _longer(first, min(axis, first.ndim - 1))
                    yield f"{key} in one of {op.inputs[n]}", n, [longer, *others]
            elif len(places) > 1:
                yield f"{key} in {op.inputs[n]}", n, _longer(given[n], axis)
    for n, slot in enumerate(op.contract.inputs):
        for axis, symbol in enumerate(slot.dims, 0 if has_rest(slot) else -len(slot.dims)):
            if symbol.isdigit() and given[n] is not None and not slot.many:
                yield f"{symbol} of {op.inputs[n]}", n, _longer(given[n], axis)


def _of_other_rank(op, given):
    """An axis too many, or too few."""
    for n, slot in enumerate(op.contract.inputs):
        lead, tail = named(slot)
        if given[n] is None or slot.many:
            continue
        if lead is None and not has_rest(slot):
            yield f"one more axis in {op.inputs[n]}", n, given[n][None]
        if tail:
            yield f"too few axes in {op.inputs[n]}", n, np.ones((1,) * (len(tail) - 1), given[n].dtype)


def _in_dtype(value, dtype):
    return mapped(lambda a: a.astype(dtype), [value])[0]


def _of_other_dtype(op, given):
    """A dtype of the wrong kind, or two where one is shared."""
    wrong = {"int": ("float64", "bool"), "bool": ("int64", "float32"), "float": ("int64", "bool")}
    present = [(n, slot) for n, slot in enumerate(op.contract.inputs) if given[n] is not None]
    shared = [n for n, slot in present if slot.kind in ("same", "float")]
    for n, slot in present:
        for dtype in wrong.get(slot.kind, ()):
            yield f"{op.inputs[n]} in {dtype}", n, _in_dtype(given[n], dtype)
        if n in shared and len(shared) > 1:
            yield f"{op.inputs[n]} alone in another dtype", n, _in_dtype(given[n], "float16")
        if n in shared and slot.many and len(given[n]) > 1:
            first, *others = given[n]
            yield f"one of {op.inputs[n]} in another dtype", n, [first.astype("float16"), *others]


def _missing(op, given):
    """None where the contract wants an array."""
    slots = enumerate(op.contract.inputs)
    return [(f"{slot.name} is None", n, None) for n, slot in slots if not slot.optional]


def _elsewhere(op, given):
    """One array on another device."""
    if sum(a is not None for a in given) > 1:
        return [(f"{op.inputs[n]} elsewhere", n, mapped(lambda a: backend.to_device(a, "cuda"), [a])[0])
                for n, a in enumerate(given) if a is not None]
    return [(f"one of {op.inputs[n]} elsewhere", n, [backend.to_device(a[0], "cuda"), *a[1:]])
            for n, a in enumerate(given) if isinstance(a, list) and len(a) > 1]


BREACHES = [(_resized, ShapeError), (_of_other_rank, ShapeError), (_of_other_dtype, DTypeError),
            (_missing, ShapeError), (_elsewhere, DeviceError)]


def check_contract(op, examples=25):
    """Shapes that satisfy the contract run, unless parameters do not fit; others are refused in its terms."""
    cases = samples(op)

    @hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.data())
    def holds(data):
        inputs, params = data.draw(st.sampled_from(cases))
        given = arrays(op, data.draw(conforming(op.contract, inputs)), inputs)
        with quiet(), installed():
            outs = attempt(op, mapped(as_tensor, given), params)
            if outs is not None:
                check_fits(op, given, params, outs)
            kinds = [(error, found) for breach, error in BREACHES if (found := list(breach(op, given)))]
            error, found = data.draw(st.sampled_from(kinds))
            what, n, instead = data.draw(st.sampled_from(found))
            check_refused(op, [*given[:n], instead, *given[n + 1:]], params, what, error)

    holds()


def check_refused(op, given, params, what, error):
    """A call fails with `error`, which names the op; if the op takes other shapes otherwise, it may run."""
    lenient = op.fallback and error is ShapeError
    try:
        op(*mapped(as_tensor, given), **params)
    except MinidlError as refusal:
        fits = isinstance(refusal, error) and re.match(rf"\[{op.name}\] ", str(refusal))
        assert fits or lenient, f"[{op.name}] {what}: expected a {error.__name__}, got {refusal!r}"
    else:
        assert lenient, f"[{op.name}] {what}: was not refused"


CHECKS = {"fits": check_fits, "empties": check_empties}
