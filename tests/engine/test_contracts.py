"""Contracts are checked quickly, by lines in the op's body, and slowly, to find the words. They agree."""
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import Tensor, ops
from minidl.errors import DeviceError, DTypeError, ShapeError
from minidl.op import REGISTRY, Mismatch
from minidl.shapes import parse


def quick(contract, shapes):
    """Do the written lines let these shapes pass?"""
    arrays = {f"{n}_": s if s is None else SimpleNamespace(shape=s) for n, s in shapes.items()}
    try:
        exec("\n".join(contract.tests()), {"Mismatch": Mismatch}, arrays)
    except (Mismatch, ValueError, IndexError):             # (too few axes to unpack, or to index)
        return False
    return True


def slow(contract, shapes):
    """Does the explaining check?"""
    try:
        contract.bind("op", {n: s for n, s in shapes.items() if s is not None})
    except ShapeError:
        return False
    return True


@st.composite
def contracts(draw):
    """Of up to three inputs; a multiple stands after its symbol, and what may be None tells nothing new."""
    slots, known = [], []
    for name in "xyz"[:draw(st.integers(1, 3))]:
        optional = bool(known) and draw(st.booleans())
        dims = [draw(st.sampled_from(["*", "_"]))] if draw(st.booleans()) else []
        optional = optional and (dims != ["*"] or any("*" in slot for slot in slots))
        for _ in range(draw(st.integers(0, 3))):
            new = [] if optional else ["A", "B", "C"]
            choices = [*new, *known, *[f"2{d}" for d in known], "3"]
            dims.append(draw(st.sampled_from(choices)))
            known += [d for d in dims[-1:] if d in new and d not in known]
        if dims and dims[0] not in "*_" and draw(st.booleans()):
            dims.append("_")
        slots.append(f"{name}({','.join(dims)}){'?' * optional}")
    return " ".join(slots) + " -> ()"


@pytest.mark.parametrize("text, shapes", [
    ("x(*) y(*)", [(2,), (3,)]), ("x(*,D) y(*,D)", [(2, 3), (4, 3)]), ("x(*,D) y(D)", [(2, 3), (2,)]),
    ("x(N,N)", [(2, 3)]), ("x(H) y(2H)", [(2,), (5,)]), ("x(N,_) y(N)", [(2, 3), (3,)]), ("x(N,_)", [()]),
    ("x(3)", [(4,)]), ("x(N)", [(2, 2)]), ("x(_,D) y(D)?", [(2, 3), (2,)])])
def test_each_rule_of_the_grammar_is_kept(text, shapes):
    contract = parse(f"{text} -> ()")
    named = dict(zip([s.name for s in contract.inputs], shapes))
    assert not quick(contract, named) and not slow(contract, named)


@settings(max_examples=400, deadline=None)
@given(contracts(), st.data())
def test_the_quick_check_and_the_slow_one_agree(text, data):
    contract = parse(text)
    shape = st.lists(st.integers(1, 3), max_size=4).map(tuple)
    shapes = {s.name: data.draw(st.none() | shape if s.optional else shape) for s in contract.inputs}
    assert quick(contract, shapes) == slow(contract, shapes), (text, shapes, contract.tests())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(REGISTRY)), st.data())
def test_so_they_do_for_every_op(name, data):
    """Shapes on the verge: sizes 1 and 2 only. What broadcasts is left to NumPy, and sequences to the op."""
    contract = REGISTRY[name].contract
    if any(s.many or "..." in s.dims for s in contract.inputs):
        return
    shapes = {}
    for slot in contract.inputs:
        axes, size = len(slot.dims), st.integers(1, 2)
        shapes[slot.name] = tuple(data.draw(st.lists(size, min_size=max(0, axes - 1), max_size=axes + 1)))
    assert quick(contract, shapes) == slow(contract, shapes), (name, shapes)


def test_the_body_of_an_op_holds_its_checks_and_none_of_its_words():
    assert "if bias_.shape != (O, ): raise Mismatch" in ops.linear.op.source
    assert "expected" not in ops.linear.op.source


def tensor(*shape, dtype="float32"):
    return Tensor(np.ones(shape, dtype))


def there(*shape):
    return tensor(*shape).to("cuda")


@pytest.mark.parametrize("call, error, text", [
    (lambda: ops.linear(tensor(2, 3), tensor(4, 5)), ShapeError,
     "[linear] weight: expected weight(O,I) with I=3 (from x(*,I)=(2, 3)), got (4, 5)."),
    (lambda: ops.linear(tensor(2, 3), tensor(4, 3, dtype="float64")), DTypeError,
     "[linear] weight: expected float32 as x, got float64"),
    (lambda: ops.exp(tensor(2, dtype="int64")), DTypeError,
     "[exp] x: expected a dtype of kind float, got int64"),
    (lambda: ops.take(tensor(2), tensor(2)), DTypeError,
     "[take] indices: expected a dtype of kind int, got float32"),
    (lambda: ops.take(tensor(2), tensor(2, dtype="bool")), DTypeError,
     "[take] indices: expected a dtype of kind int, got bool"),
    (lambda: ops.matmul(None, tensor(2, 2)), ShapeError,
     "[matmul] a: expected an array a(...,M,K), got None"),
    (lambda: ops.concat([tensor(2), tensor(2, dtype="float64")]), DTypeError,
     "[concat] xs: expected float32 as xs, got float64"),
    (lambda: tensor(2) + there(2), DeviceError,
     '[add] b: expected an array on cpu as a, got one on cuda:0. Move it, as in b.to("cpu")'),
    (lambda: ops.concat([there(2), tensor(2)]), DeviceError,
     "[concat] xs: expected an array on cuda:0 as xs, got one on cpu"),
    (lambda: there(2)[tensor(1, dtype="int64")], DeviceError,
     "[getitem] index: expected arrays on cuda:0 as x, got one on cpu"),
    (lambda: tensor(2).assign(there(2)), DeviceError,
     "[assign] value: expected an array on cpu, got one on cuda:0"),
    (lambda: tensor(2).to("cuda:1"), DeviceError,
     "[device] device: expected one of 1 CUDA devices, got cuda:1"),
    (lambda: np.asarray(there(2)), DeviceError,
     "[numpy] self: expected a tensor on the cpu, got one on cuda:0"),
])
def test_breaches_are_refused_in_the_contracts_words(double, call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()
