"""Shape arithmetic against NumPy's, and the words in which contracts refuse shapes."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.errors import ArgumentError, ShapeError
from minidl.shapes import broadcast, parse, unbroadcast_axes

SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@given(SHAPES, SHAPES)
def test_broadcasting_is_numpys(a, b):
    try:
        want = np.broadcast_shapes(a, b)
    except ValueError:
        want = None
    assert broadcast(a, b) == broadcast(b, a) == want


@given(SHAPES, st.data())
def test_unbroadcasting_is_the_transpose(shape, data):
    """<repeat x, g> = <x, sum g>, and the sum has x's shape."""
    target = tuple(data.draw(st.sampled_from([1, n])) for n in shape[data.draw(st.integers(0, len(shape))):])
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(target), rng.standard_normal(shape)
    summed = g.sum(unbroadcast_axes(shape, target), keepdims=True).reshape(target)
    np.testing.assert_allclose((np.broadcast_to(x, shape) * g).sum(), (x * summed).sum(), atol=1e-12)


def test_a_contract_parsed():
    c = parse("x(*, D) gates(4H,D):float index(N):int mask(_):bool? xs() -> (*,H) (N) +")
    assert [str(s) for s in c.inputs] == ["x(*,D)", "gates(4H,D)", "index(N)", "mask(_)", "xs()"]
    assert [s.kind for s in c.inputs] == ["same", "float", "int", "bool", "same"]
    assert [s.optional for s in c.inputs] == [False, False, False, True, False]
    assert [s.split() for s in c.inputs[:2]] == [("*", ("D",)), (None, ("4H", "D"))]
    assert c.several and [s.dims for s in c.outputs] == [("*", "H"), ("N",)]
    assert not parse("x(*) -> (*)").several and parse("xs(_)+ -> (_) +").several
    assert parse("xs(_)+ -> (_)").inputs[0].many


@pytest.mark.parametrize("text, wrong", [("x(*):flaot -> (*)", "flaot"), ("x(*,D w(D) -> (*)", r"x\(\*,D"),
                                         ("x(*), w(D) -> (*)", ",")])
def test_a_contract_with_a_slip_is_refused(text, wrong):
    with pytest.raises(ArgumentError, match=rf"\[contract\] text: expected NAME\(dims\).*got .*{wrong}"):
        parse(text)


@pytest.mark.parametrize("contract, shapes, text", [
    ("x(*,D) weight(D)", {"x": (2, 3), "weight": (4,)},
     r"weight: expected weight\(D\) with D=3 \(from x\(\*,D\)=\(2, 3\)\), got \(4,\)"),
    ("x(*,D) weight(D)", {"x": (2, 3)}, r"weight: expected an array weight\(D\), got None"),
    ("x(*,D)", {"x": ()}, r"x: expected at least 1 axes x\(\*,D\), got \(\)"),
    ("x(N,C)", {"x": (2, 3, 4)}, r"x: expected 2 axes x\(N,C\), got \(2, 3, 4\)"),
    ("x(N,C,_)", {"x": (2,)}, r"x: expected at least 2 axes x\(N,C,_\), got \(2,\)"),
    ("a(*,N,N)", {"a": (5, 2, 3)}, r"a: expected a\(\*,N,N\) with N=2 .*, got \(5, 2, 3\)"),
    ("h(H) w(4H)", {"h": (3,), "w": (13,)}, r"w: expected w\(4H\) with 4H=12, got \(13,\)"),
    ("x(*,A) y(*,B)", {"x": (2, 1), "y": (3, 1)},
     r"y: expected leading axes \(2,\) as in x=\(2, 1\), got \(3, 1\)"),
    ("a(...) b(...)", {"a": (2, 3), "b": (4,)},
     r"b: expected leading axes that broadcast with a=\(2, 3\), got \(4,\)"),
    ("boxes(N,4)", {"boxes": (7, 5)}, r"boxes: expected boxes\(N,4\) with 4=4, got \(7, 5\)"),
])
def test_refusals_say_what_and_since_which_argument(contract, shapes, text):
    with pytest.raises(ShapeError, match=rf"^\[op\] {text}"):
        parse(contract).bind("op", shapes)
