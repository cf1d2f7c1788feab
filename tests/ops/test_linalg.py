"""Products, norms and linear systems against NumPy, and einsum against plain loops over all labels."""
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import Tensor, ops
from minidl.door import attach
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.guests import Profiler

RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float64):
    return RNG.standard_normal(shape).astype(dtype)


def leaf(*shape):
    return Tensor(normal(*shape), requires_grad=True)


# -- matmul, linear ---------------------------------------------------------------------------

SHAPES = [((3,), (3,)), ((3,), (3, 2)), ((4, 3), (3,)), ((3,), (5, 3, 2)), ((5, 4, 3), (3,)), ((4, 3), (3, 2)),
          ((4, 3), (5, 3, 2)), ((6, 5, 4, 3), (3, 2)), ((6, 1, 4, 3), (5, 3, 2)), ((4, 0), (0, 2)),
          ((0, 4, 3), (3, 2)), ((2, 4, 3), (3, 0))]


@pytest.mark.parametrize("a, b", SHAPES, ids=str)
def test_matmul_in_all_forms(a, b):
    a, b = leaf(*a), leaf(*b)
    got, want = a @ b, a.data @ b.data
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)
    g = normal(*want.shape)
    got.backward(g)
    for t, other in ((a, lambda u: u @ b.data), (b, lambda u: a.data @ u)):
        u = normal(*t.shape)                                     # <g, dy/dt u> = <dt, u>
        np.testing.assert_allclose((g * other(u)).sum(), (t.grad.data * u).sum(), atol=1e-12)


def test_matmul_with_arrays_on_either_side():
    x, w = leaf(4, 3), normal(3, 2)
    assert isinstance(x @ w, Tensor) and isinstance(w.T @ x.T, Tensor)
    np.testing.assert_allclose((x @ w).numpy(), (w.T @ x.T).numpy().T)
    assert (ml.tensor([[1, 2]]) @ ml.tensor([[3], [4]])).tolist() == [[11]]


def test_layouts_give_the_same_product():
    x, w = normal(2, 6, 4), normal(4, 5)
    for a in (x, x[:, ::-1], np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::2]):
        np.testing.assert_allclose((Tensor(a) @ w).numpy(), np.einsum("bij,jk->bik", a, w))


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear(lead, with_bias):
    x, weight, bias = leaf(*lead, 4), leaf(5, 4), leaf(5) if with_bias else None
    got = ops.linear(x, weight, bias)
    np.testing.assert_allclose(got.numpy(), x.data @ weight.data.T + (bias.data if with_bias else 0), atol=1e-12)
    g = normal(*lead, 5)
    got.backward(g)
    np.testing.assert_allclose(x.grad.numpy(), g @ weight.data, atol=1e-12)
    np.testing.assert_allclose(weight.grad.numpy(), g.reshape(-1, 5).T @ x.data.reshape(-1, 4), atol=1e-12)
    if with_bias:
        np.testing.assert_allclose(bias.grad.numpy(), g.reshape(-1, 5).sum(0), atol=1e-12)


def test_floating_point_operations():
    with attach(Profiler()) as seen:
        ops.matmul(normal(2, 3, 4), normal(4, 5))
        ops.linear(normal(2, 3, 4), normal(5, 4), normal(5))
        ops.einsum("bhqd,bhkd->bhqk", normal(2, 3, 4, 5), normal(2, 3, 6, 5))
    flops = {}
    for name, *_, cost in seen.events:
        flops.setdefault(name, []).append(cost)
    assert flops["matmul"] == [2 * 6 * 4 * 5] and flops["linear"] == [2 * 6 * 4 * 5 + 6 * 5]
    assert sum(map(sum, flops.values())) == sum(flops["matmul"] + flops["linear"]) + 2 * 6 * 4 * 6 * 5


# -- einsum -----------------------------------------------------------------------------------------

def by_loops(terms, output, sizes, arrays):
    """The definition: for every value of all labels, add a product to an element of the result."""
    labels = sorted(sizes)
    out = np.zeros([sizes[x] for x in output])
    for values in itertools.product(*[range(sizes[x]) for x in labels]):
        at = dict(zip(labels, values))
        out[tuple([at[x] for x in output])] += np.prod(
            [a[tuple([at[x] % n for x, n in zip(term, a.shape)])] for term, a in zip(terms, arrays)])
    return out


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_einsum(data):
    """Any number of operands, repeated labels, axes of size 1 that broadcast, ellipses, implicit results."""
    sizes = {x: data.draw(st.integers(0 if x == "e" else 1, 3)) for x in "abcdeXY"}      # X, Y: under an ellipsis
    terms = data.draw(st.lists(st.text("abcde", max_size=3), min_size=1, max_size=4))
    hidden = [data.draw(st.sampled_from(["", "Y", "XY"])) for _ in terms]
    full = [dots + term for dots, term in zip(hidden, terms)]
    shrinks = [[data.draw(st.integers(0, 5)) == 0 and term.count(x) == 1 for x in term] for term in full]
    shapes = [[1 if one else sizes[x] for x, one in zip(term, ones)] for term, ones in zip(full, shrinks)]
    used = {}
    for x, n in [pair for term, shape in zip(full, shapes) for pair in zip(term, shape)]:
        used[x] = n if used.get(x, 1) == 1 else used[x]
    dots = max(hidden, key=len)
    counts = {x: sum(term.count(x) for term in terms) for x in "abcde"}
    letters = [x for x in "abcde" if counts[x]]
    left = ",".join("..." * bool(h) + term for h, term in zip(hidden, terms))
    if data.draw(st.booleans()):
        result = data.draw(st.permutations(letters))[:data.draw(st.integers(0, 5))]
        equation, output = f"{left} -> {'...' * bool(dots)}{''.join(result)}", [*dots, *result]
    else:
        equation, output = left, [*dots, *[x for x in letters if counts[x] == 1]]
    arrays = [normal(*shape) for shape in shapes]
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    got = ops.einsum(equation, *leaves)
    np.testing.assert_allclose(got.numpy(), by_loops(full, output, used, arrays), atol=1e-10, err_msg=equation)
    g = normal(*got.shape)
    got.backward(g)
    for t in leaves:                                             # linear in each operand: <g, y> = <dt, t>
        np.testing.assert_allclose((t.grad.data * t.data).sum(), (g * got.data).sum(), atol=1e-9, err_msg=equation)


def test_einsum_multiplies_in_a_good_order():
    """From the right, as that is fewer operations, though from the left results are smaller."""
    first, second, x = normal(3, 60), normal(60, 2), normal(2)
    with attach(Profiler()) as seen:
        got = ops.einsum("ij,jk,k->i", first, second, x)
    np.testing.assert_allclose(got.numpy(), first @ (second @ x))
    assert sum(event[-1] for event in seen.events) == 2 * (60 * 2 + 3 * 60)


def test_einsum_of_attention_copies_nothing():
    q, k = normal(2, 5, 3, 4), normal(2, 6, 3, 4)
    scores = ops.einsum("bqhd,bkhd->bhqk", [q, k])
    np.testing.assert_allclose(scores.numpy(), np.einsum("bqhd,bkhd->bhqk", q, k))
    assert scores.data.flags.c_contiguous and ops.einsum("ij,jk->ki", q[0, 0], k[0, 0].T).data.flags.c_contiguous
    assert ops.einsum("bqhd->bhqd", q).data.base is q


# -- others --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("got, want", [
    (lambda: ops.bilinear(A, B, W, BIAS), lambda: np.einsum("ni,oij,nj->no", A, W, B) + BIAS),
    (lambda: ops.outer(A[0], B[0]), lambda: np.outer(A[0], B[0])),
    (lambda: ops.dot(A[0], A[1]), lambda: np.dot(A[0], A[1])),
    (lambda: ops.vecdot(A, A[:1], 0), lambda: (A * A[:1]).sum(0)),
    (lambda: ops.tensordot(W, A, ((1,), (-1,))), lambda: np.tensordot(W, A, ((1,), (-1,)))),
    (lambda: ops.tensordot(A, W.swapaxes(0, 1), 1), lambda: np.tensordot(A, W.swapaxes(0, 1), 1)),
    (lambda: ops.cross(B, B[::-1]), lambda: np.cross(B, B[::-1])),
    (lambda: ops.cross(B.T, B[:1].T, 0), lambda: np.cross(B, B[:1]).T),
    (lambda: ops.trace(W), lambda: np.trace(W, 0, 1, 2)),
    (lambda: ops.trace(W, -1), lambda: np.trace(W, -1, 1, 2)),
    *[(lambda o=o: ops.vector_norm(A, -1, o), lambda o=o: np.linalg.norm(A, o, -1))
      for o in (0, 1, 2, 3.5, np.inf, -np.inf)],
    (lambda: ops.vector_norm(W, (0, 2), keepdims=True), lambda: np.sqrt((W * W).sum((0, 2), keepdims=True))),
    (lambda: ops.solve(S, A.T), lambda: np.linalg.inv(S) @ A.T),
    (lambda: ops.solve(np.stack([S, 2 * S]), A[0]), lambda: np.stack([1, 0.5])[:, None] * (np.linalg.inv(S) @ A[0])),
    (lambda: ops.inv(S) @ S, lambda: np.eye(4)),
    (lambda: (f := ops.cholesky(S)) @ f.mT, lambda: S),
    (lambda: ops.cholesky(S).triu(1), lambda: np.zeros((4, 4))),
    (lambda: ops.det(S), lambda: np.prod(np.linalg.eigvalsh(S))),
    (lambda: ops.stack(ops.slogdet(-S[1:, 1:])), lambda: np.array([-1, np.log(np.linalg.eigvalsh(S[1:, 1:])).sum()])),
])
def test_as_numpy(got, want):
    np.testing.assert_allclose(got().numpy(), want(), atol=1e-12)


A, B, W, BIAS = normal(5, 4), normal(5, 3), normal(2, 4, 3), normal(2)
S = A.T @ A + np.eye(4)


def test_the_norm_of_nothing_has_gradient_zero():
    x = Tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    ops.vector_norm(x, 1).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0], [0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("call, error, words", [
    (lambda: ops.matmul(A, A), ShapeError, r"\[matmul\] b: expected b\(...,K,N\) with K=4 .*got \(5, 4\)"),
    (lambda: Tensor(A) @ 2.0, ShapeError, r"\[matmul\] b"),
    (lambda: ops.matmul(A[0], B), ShapeError, r"\[matmul\] b"),
    (lambda: ops.linear(A, W[0]), ShapeError, r"\[linear\] weight: expected weight\(O,I\) with I=4"),
    (lambda: ops.linear(A, A, BIAS), ShapeError, r"\[linear\] bias: expected bias\(O\) with O=5"),
    (lambda: ops.dot(A, A), ShapeError, r"\[dot\] a: expected 1 axes"),
    (lambda: ops.cross(A, A), ShapeError, r"\[cross\] a, b: expected 3 elements along axis -1"),
    (lambda: ops.tensordot(A, B, 1), ShapeError,
     r"\[tensordot\] b: expected axis 0 as long as 1 of a=\(5, 4\), got \(5, 3\)"),
    (lambda: ops.vector_norm(np.array([1, 2])), DTypeError,
     r"\[vector_norm\] x: expected a dtype of kind float"),
    (lambda: ops.inv(np.zeros((2, 2))), ArgumentError, r"\[inv\] .*Singular matrix"),
    (lambda: ops.inv(A), ShapeError, r"\[inv\] x"),
    (lambda: ops.solve(np.zeros((4, 4)), A.T), ArgumentError, r"\[solve\] .*Singular matrix"),
    (lambda: ops.solve(S, A), ShapeError, r"\[solve\] b: expected b\(\*,N,K\) with N=4"),
    (lambda: ops.cholesky(-S), ArgumentError, r"\[cholesky\] .*not positive definite"),
    (lambda: ops.einsum("ij,jk", A), ArgumentError,
     r"\[einsum\] equation: expected 2 operands, got 1. The equation is 'ij,jk'."),
    (lambda: ops.einsum("ij,jk", A, B), ShapeError,
     r"\[einsum\] xs\[1\]: expected j=4 as before, in 'ij,jk', got \(5, 3\)"),
    (lambda: ops.einsum("ii", A), ShapeError, r"\[einsum\] xs\[0\]"),
    (lambda: ops.einsum("i", A), ArgumentError, r"\[einsum\] equation: expected 1 axes in operand 0, got 2"),
    (lambda: ops.einsum("i1", A), ArgumentError,
     r"\[einsum\] equation: expected letters and one ... as labels of operand 0"),
    (lambda: ops.einsum("ij->ik", A), ArgumentError,
     r"\[einsum\] equation: expected a result whose labels .*got 'ik'"),
    (lambda: ops.einsum(Tensor(A), B), ArgumentError, r"\[einsum\] equation: expected a text such as .*got Tensor"),
    (lambda: ops.einsum("ij->ii", A), ArgumentError, r"\[einsum\] equation: expected a result whose labels"),
    (lambda: ops.einsum("ij,ij", A.astype("f4"), A), DTypeError,
     r"\[einsum\] xs: expected float32 as xs, got float64"),
])
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
