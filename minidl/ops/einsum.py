"""Einstein sums: any sum of products, as matrix products."""
from collections import Counter
from functools import lru_cache
from math import prod

from ..errors import ArgumentError, ShapeError, message
from ..op import fused, primitive

__all__ = ["einsum"]


@fused("xs(_)+ -> (_)")
def einsum(xs, /, equation):
    """Sum of products over labelled axes. (Called as in NumPy: einsum(equation, *xs).)

    Args:
        xs (_): tensors of one dtype, the operands.
        equation: letters for each operand's axes, an arrow, and the result's: "ij,jk->ik". Axes of one letter
            run together; what is not in the result is summed. A letter twice in an operand takes a diagonal;
            `...` stands for axes that broadcast. Without an arrow the result has `...`, and then the letters
            that occur once, in alphabetical order.

    Returns:
        (_): the axes that the result's labels name.

    Raises:
        ArgumentError: the equation is malformed, or does not fit the operands.
        ShapeError: axes of one label differ in size (and are not 1).

    Source: NumPy, `einsum`; the order of products: Smith, Gray 2018, "opt_einsum", doi:10.21105/joss.00753.
    """
    cleanings, products, order = _plan(equation, tuple([x.shape for x in xs]))
    xs = [_cleaned(x, *cleaning) for x, cleaning in zip(xs, cleanings)]
    for i, j, *labels in products:
        b, a = xs.pop(j), xs.pop(i)
        xs.append(_contract(a, b, *labels))
    return xs[0] if order is None else xs[0].permute_dims(order)


def _cleaned(x, diagonals, summed):
    for axis1, axis2 in diagonals:
        x = x.diagonal(0, axis1, axis2)
    total = x.sum(axis=summed) if summed else x
    return total if total.dtype == x.dtype else total.astype(x.dtype)    # (small integers' sums are int64)


@einsum.samples
def _(make):
    a, b = make.normal(2, 3), make.normal(3, 4)
    yield [a, b], "ij,jk->ik"
    yield [a, b], "ij,jk"
    yield [make.normal(2, 3, 2, 4), make.normal(2, 5, 2, 4)], "bqhd,bkhd->bhqk"
    yield [make.normal(2, 4, 3), make.normal(3, 4, 2)], "bij,jib->b"
    yield [make.normal(3, 3)], "ii"
    yield [make.normal(2, 3, 3), make.normal(3)], "bii,i->bi"
    yield [a, make.normal(3, 4), make.normal(2, 4)], "ij,jk,ik->"
    yield [make.normal(2, 1, 3), make.normal(4, 3, 2)], "...i,...ij->j..."
    yield [make.normal(1, 3), make.normal(2, 3)], "ij,ij->ji"
    yield [make.normal(2), make.normal(3)], "i,j->ji"
    yield [make.normal(), a], ",ij->i"


_einsum = einsum


def einsum(equation, *xs):
    """`einsum` with the equation first: einsum("ij,jk->ik", a, b)."""
    return _einsum(xs[0] if len(xs) == 1 and isinstance(xs[0], (tuple, list)) else xs, equation)


# -- one product -----------------------------------------------------------------------

@primitive("a(_) b(_) -> (_)")
def _contract(xp, a, b, /, a_labels, b_labels, labels):
    """The product of two tensors, summed over labels that the result lacks; each is in two of the three."""
    swap, a_axes, b_axes, batch, rows, columns, order = _layout(a_labels, b_labels, labels)
    a, b = (b.transpose(b_axes), a.transpose(a_axes)) if swap else (a.transpose(a_axes), b.transpose(b_axes))
    lead, m, n = a.shape[:batch], a.shape[batch:batch + rows], b.shape[b.ndim - columns:]
    if a.ndim == batch + rows:                                   # nothing is summed
        return (a[(..., *[None] * columns)] * b.reshape((*lead, *[1] * rows, *n))).transpose(order)
    k = prod(a.shape[batch + rows:])
    y = xp.matmul(a.reshape((*lead, prod(m), k)), b.reshape((*lead, k, prod(n))))
    return y.reshape((*lead, *m, *n)).transpose(order)


@_contract.vjp
def _(g, a, b, a_labels, b_labels, labels):
    return (lambda: _contract(g, b, labels, b_labels, a_labels)), \
        (lambda: _contract(g, a, labels, a_labels, b_labels))


@_contract.cost
def _(a, b, a_labels, b_labels, labels):
    return 2 * prod({**dict(zip(a_labels, a)), **dict(zip(b_labels, b))}.values())


@lru_cache(4096)
def _layout(a_labels, b_labels, labels):
    """How to see a product as one of matrices.

    Returns:
        whether b comes first; the order of a's axes and of b's: the first operand's are batch, rows, summed,
        the second's batch, summed, columns; how many batch, rows and columns are; the order of the result's.
    """
    swap = bool(labels) and labels[-1] not in b_labels           # the result's last axis should be columns
    first, second = (b_labels, a_labels) if swap else (a_labels, b_labels)
    batch = [x for x in labels if x in first and x in second]
    rows = [x for x in first if x not in second]                 # as in the operand: merging seldom copies
    columns = [x for x in second if x not in first]
    summed = [x for x in first if x not in labels]
    first_axes = [first.index(x) for x in batch + rows + summed]
    second_axes = [second.index(x) for x in batch + summed + columns]
    a_axes, b_axes = (second_axes, first_axes) if swap else (first_axes, second_axes)
    order = [(batch + rows + columns).index(x) for x in labels]
    return swap, a_axes, b_axes, len(batch), len(rows), len(columns), order


# -- which products -------------------------------------------------------------------------

@lru_cache(1024)
def _plan(equation, shapes):
    """(diagonals and axes to sum of each operand; the products; the last permutation, or None)."""
    terms, output = _parse(equation, [len(s) for s in shapes])
    sizes = _sizes(equation, terms, shapes)
    extents = [dict(zip(term, shape)) for term, shape in zip(terms, shapes)]
    counts = Counter(x for extent in extents for x, n in extent.items() if n == sizes[x])
    cleanings, left = [], []
    for term, extent in zip(terms, extents):
        diagonals, labels = [], list(term)
        while repeated := [x for x in labels if labels.count(x) > 1]:
            i, j = [i for i, x in enumerate(labels) if x == repeated[0]][:2]
            diagonals.append((i, j))
            labels = [x for k, x in enumerate(labels) if k not in (i, j)] + [repeated[0]]
        alone = [counts[x] == 1 and x not in output or extent[x] != sizes[x] for x in labels]
        cleanings.append((diagonals, tuple([i for i, gone in enumerate(alone) if gone])))
        left.append(tuple([x for x, gone in zip(labels, alone) if not gone]))
    products = []
    while len(left) > 1:
        i, j = _cheapest(left, output, sizes)
        b, a = left.pop(j), left.pop(i)
        kept = _kept(a, b, left, output) if left else output
        products.append((i, j, a, b, kept))
        left.append(kept)
    order = None if left[0] == output else [left[0].index(x) for x in output]
    return cleanings, products, order


def _kept(a, b, others, output):
    needed = set(output).union(*others)
    return tuple([x for x in dict.fromkeys(a + b) if x in needed])


def _cheapest(left, output, sizes):
    """The pair whose product takes the fewest operations, and of those the one with the smallest result."""
    def key(pair):
        a, b = left[pair[0]], left[pair[1]]
        others = [labels for k, labels in enumerate(left) if k not in pair]
        return [prod([sizes[x] for x in labels]) for labels in ({*a, *b}, _kept(a, b, others, output))]

    return min([(i, j) for j in range(len(left)) for i in range(j)], key=key)


def _parse(equation, ndims):
    """The labels of each operand, and of the result: letters; under an ellipsis numbers, the last one 0."""
    if not isinstance(equation, str):
        raise ArgumentError(message("einsum", "equation", 'a text such as "ij,jk->ik"', type(equation).__name__))
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise _refusal(equation, f"{len(terms)} operands", len(ndims))
    inputs = [_labels(equation, f"operand {i}", term, n) for i, (term, n) in enumerate(zip(terms, ndims))]
    hidden = tuple(range(max([sum(type(x) is int for x in labels) for labels in inputs])))[::-1]
    counts = Counter(x for labels in inputs for x in labels if type(x) is str)
    if not arrow:
        return inputs, (*hidden, *sorted([x for x, n in counts.items() if n == 1]))
    named = right.replace("...", "", 1)
    output = _labels(equation, "the result", right, len(named) + len(hidden) * ("..." in right))
    if len(set(output)) < len(output) or not counts.keys() >= set(named):
        raise _refusal(equation, "a result whose labels are those of operands, each once", repr(right))
    return inputs, output


def _labels(equation, what, term, ndim):
    before, dots, after = term.partition("...")
    letters = before + after
    if letters and not (letters.isascii() and letters.isalpha()):
        raise _refusal(equation, f"letters and one ... as labels of {what}", repr(term))
    hidden = ndim - len(letters)
    if hidden < 0 or hidden and not dots:
        raise _refusal(equation, f"{len(letters)} axes in {what}", ndim)
    return (*before, *reversed(range(hidden)), *after)


def _sizes(equation, terms, shapes):
    """The size of each label; 1 broadcasts."""
    sizes = {}
    for i, (term, shape) in enumerate(zip(terms, shapes)):
        for x, n in zip(term, shape):
            m = sizes.get(x, 1)
            if n != m and 1 not in (n, m) or term.count(x) > 1 and n != shape[term.index(x)]:
                raise ShapeError(message("einsum", f"xs[{i}]", f"{x}={m} as before, in {equation!r}", shape))
            sizes[x] = m if n == 1 else n
    return sizes


def _refusal(equation, expected, got):
    return ArgumentError(message("einsum", "equation", expected, got, f"The equation is {equation!r}."))
