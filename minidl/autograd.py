"""Reverse-mode differentiation: the walk over the tape.

Highest number first is a topological order (minidl/tape.py), so the walk needs
no search, no recursion and no visited set: a heap of numbers says who is next.
A rule may even hang new nodes into the walk, as these are newer than all
others: `checkpoint` recomputes a piece of graph that way, and a fused op its
definition.

The walk has two gears.  Normally gradients are bare arrays.  With
`create_graph` they are tensors, and the rules are taped like any computation.
"""
from functools import wraps
from heapq import heappop, heappush

from . import backend, door
from .backend import random
from .dtypes import HALVES, is_float
from .errors import ArgumentError, GradError, ShapeError, message
from .shapes import unbroadcast_axes
from .tape import Leaf, Node, Pick, last_mutation, mutations, no_grad, owner, recompute, record, recording, tick
from .tensor import Tensor


class Splice:
    """What a rule returns to say: walk on from these (edge, gradient) pairs instead of my edges."""

    def __init__(self, pairs):
        self.edges, self.parts = zip(*pairs) if pairs else ((), ())


def walk(roots, *, ends=(), keep=False, create_graph=False):
    """{number: (end, gradient)}: from (edge, gradient) pairs down to every leaf, or to `ends` only.

    Saved values are let go on the way unless `keep` or `create_graph`.
    """
    ends = {e.seq for e in ends}
    path = _leading(roots, ends) if ends else None     # None: everything leads somewhere
    found, pending, heap = {}, {}, []                  # pending: number -> [node, gradient, is it ours to add into]
    watched = bool(door.here.guests)
    edges, parts = zip(*roots)
    node = edges[0]
    with record(create_graph):
        while True:
            for end, part in zip(edges, parts):        # deliver what the last rule gave
                if end is None or part is None:
                    continue
                seq = end.seq
                if path is not None and seq not in path and seq not in ends:
                    continue
                if callable(part):                     # a thunk: only wanted ones are called
                    part = part()
                if not create_graph and isinstance(part, Tensor):
                    part = part.data
                if part.shape != end.shape:            # undo broadcasting
                    try:
                        part = part.sum_to(end.shape) if create_graph else _sum_to(part, end.shape)
                    except ShapeError as error:
                        raise GradError(message(node.name, "rule", f"a gradient that sums to {end.shape}",
                                                part.shape)) from error
                entry = pending.get(seq)
                if entry is None:
                    pending[seq] = [end, part, False]
                    heappush(heap, -seq)
                elif entry[2] and part.size > 500:     # in place saves memory, but is slower on small arrays
                    entry[1] += part
                else:
                    entry[1], entry[2] = entry[1] + part, not create_graph
            if not heap:
                return found

            seq = -heappop(heap)                       # who is next
            node, gradient, _ = pending.pop(seq)
            edges, parts = (), ()
            if node.hooks is not None:
                gradient = _hooked(node, gradient)
            kind = type(node)
            if kind is Leaf or seq in ends:
                found[seq] = node, gradient
                if kind is Leaf or seq not in path:
                    continue
            if kind is Pick:                           # gather the outputs' gradients at their node
                whole, = node.edges
                entry = pending.get(whole.seq)
                if entry is None:
                    entry = pending[whole.seq] = [whole, [None] * len(whole.shape), False]
                    heappush(heap, -whole.seq)
                entry[1][node.index] = gradient
                continue
            if node.saved is None:
                raise GradError(message(node.op.name, "backward", "a graph that was not walked yet",
                                        "one whose saved values are gone", "Pass retain_graph=True to the first walk."))
            if last_mutation[0] > seq:
                _check_unchanged(node)
            op = node.op
            pull = op.pull_taped if create_graph else op.pull if path is None else op.pull_wanted
            parts = door.pull_through(pull, node, gradient) if watched else pull(node, gradient)
            edges = node.edges
            if type(parts) is not tuple:
                if type(parts) is Splice:
                    edges, parts = parts.edges, parts.parts
                    if path is not None:
                        path |= _leading(zip(edges, parts), ends)
                else:
                    parts = parts,
            if len(parts) != len(edges):
                raise GradError(message(node.name, "rule", f"{len(edges)} gradients, one for each input", len(parts)))
            if not (keep or create_graph):
                node.saved = None


def _sum_to(array, shape):
    if array.dtype in HALVES:                          # (a running sum of 16 bits would soon stand still)
        return _sum_to(array.astype("float32"), shape).astype(array.dtype)
    return array.sum(unbroadcast_axes(array.shape, shape), keepdims=True).reshape(shape)


def _hooked(node, gradient):
    bare = not isinstance(gradient, Tensor)
    for hook in node.hooks:
        given = Tensor(gradient) if bare else gradient
        changed = hook(given)
        if changed is not None:
            changed = changed if isinstance(changed, Tensor) else Tensor(changed)
            if changed.shape != given.shape or changed.dtype != given.dtype:
                raise GradError(message("hook", "result", f"{given.dtype} {given.shape} as the gradient",
                                        f"{changed.dtype} {changed.shape}"))
            gradient = changed.data if bare else changed
    return gradient


def _leading(roots, ends):
    """The numbers of all nodes below `roots` from which a path leads to one of `ends`."""
    oldest, nodes, stack = min(ends), {}, [edge for edge, _ in roots]
    while stack:
        node = stack.pop()
        if node is not None and node.seq >= oldest and node.seq not in nodes:   # older ones cannot lead there
            nodes[node.seq] = node
            stack += node.edges
    path = set()
    for seq in sorted(nodes):                          # inputs before what uses them
        node = nodes[seq]
        if any(e is not None and (e.seq in ends or e.seq in path) for e in node.edges) or \
                type(node) is Node and node.op.opaque:
            path.add(seq)
    return path


def _check_unchanged(node):
    for name, array in node.op.saved_arrays(node):
        when, file, line = mutations.get(id(owner(array)), (0, "", 0))
        if when > node.seq:
            error = GradError(message(node.op.name, name, "the values that were saved for backward",
                                      f"a tensor changed since, at {file}:{line}",
                                      "Change it after the backward walk, or pass a copy to the op."))
            error.where = getattr(node, "where", ())[::-1]
            raise error


def _seed(op, argument, output, gradient):
    """The first gradient of a walk: ones for a scalar, else what the caller gave."""
    if getattr(output, "node", None) is None:
        raise GradError(message(op, argument, "a tensor that depends on a leaf with requires_grad",
                                "one that does not"))
    if gradient is None and output.size != 1:
        raise GradError(message(op, "gradient", f"an array {output.shape} for a non-scalar", "None",
                                "Reduce first, as in `loss.mean().backward()`."))
    seed = backend.namespace(output.data).ones_like(output.data) if gradient is None else gradient
    seed = seed if isinstance(seed, Tensor) else Tensor(seed)
    if seed.shape != output.shape or seed.dtype != output.dtype:
        raise GradError(message(op, "gradient", f"{output.dtype} {output.shape} as the output",
                                f"{seed.dtype} {seed.shape}"))
    return seed


def backward(self, gradient=None, *, retain_graph=False, create_graph=False):
    """Add d(self)/d(leaf) to the `.grad` of every leaf that it depends on.

    Args:
        gradient: d(loss)/d(self), as this tensor; may be left out if this is a scalar.
        retain_graph: keep what the ops saved, for a second walk.
        create_graph: put the walk itself on the tape, so that gradients have gradients. `.grad` then holds
            the graph and the graph the leaf, a cycle; `gradients()` avoids it.

    Raises:
        GradError: nothing here wants a gradient; the graph was walked before; a saved value was changed.
    """
    seed = _seed("backward", "self", self, gradient)
    given = {id(owner(seed.data))}
    for leaf, part in walk([(self.node, seed)], keep=retain_graph, create_graph=create_graph).values():
        part = part if isinstance(part, Tensor) else Tensor(part)
        if leaf.grad is not None:
            leaf.grad = leaf.grad + part
            continue
        memory = id(owner(part.data))
        if memory in given or not getattr(part.data.flags, "writeable", True):
            part = part.clone()                        # (who assigns to it means this one alone)
        leaf.grad = part
        given.add(memory)


Tensor.backward = backward


def gradients(output, inputs, seed=None, *, retain_graph=False, create_graph=False):
    """d(output)/d(inputs), leaving every `.grad` alone.

    Args:
        output: a tensor; a scalar unless `seed` is given.
        inputs: tensors that it depends on, leaves or in the middle; or one such tensor.
        seed: d(loss)/d(output), as `output`.
        retain_graph, create_graph: as in `backward`.

    Returns:
        a tuple, one tensor per input; None where no path leads from it to the output.
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    ends = [getattr(t, "node", None) for t in inputs]
    if None in ends:
        at = ends.index(None)
        raise GradError(message("gradients", f"inputs[{at}]", "a tensor with a gradient",
                                f"a {type(inputs[at]).__name__} without", "Create it with requires_grad=True."))
    if not ends:
        return ()
    seed = _seed("gradients", "output", output, seed)
    found = walk([(output.node, seed)], ends=ends, keep=retain_graph, create_graph=create_graph)
    parts = [found[e.seq][1] if e.seq in found else None for e in ends]
    return tuple([p if p is None or isinstance(p, Tensor) else Tensor(p) for p in parts])


def grad(function, argnums=0):
    """The function that gives the gradient of a scalar-valued `function` with respect to its arguments.

    Args:
        function: takes tensors, gives a scalar tensor.
        argnums: which positional argument, or a tuple of several.

    Returns:
        a function of the same arguments; its result is a tensor, or a tuple for several `argnums`. It can be
        differentiated again: `grad(grad(f))`.

    Raises (the function that is given):
        ArgumentError: it is called without one of the arguments.
        GradError: the result is not a scalar, or does not depend on them.
    """
    several = isinstance(argnums, tuple)
    chosen = argnums if several else (argnums,)

    @wraps(function)
    def gradient(*args, **keywords):
        if any(i not in range(len(args)) for i in chosen):
            raise ArgumentError(message("grad", "argnums", f"positions of the {len(args)} arguments", argnums))
        args = [a if isinstance(a, Tensor) or i not in chosen else Tensor(a) for i, a in enumerate(args)]
        outer = recording() and any(isinstance(a, Tensor) and a.node is not None for a in args)
        with record(True):
            leaves = {i: args[i] if args[i].node is not None else Tensor(args[i].data, requires_grad=True)
                      for i in chosen}
            output = function(*[leaves.get(i, a) for i, a in enumerate(args)], **keywords)
            parts = gradients(output, [leaves[i] for i in chosen], create_graph=outer)
        return parts if several else parts[0]

    return gradient


class _Checkpoint:
    """The op of `checkpoint`'s nodes: keeps the function, recomputes, walks on through what that taped."""

    name, opaque = "checkpoint", True                  # opaque: the function may use parameters we do not see

    def pull(self, node, gradient):
        function, inputs, keywords, several, drawn = node.saved
        with recompute(), random.at(drawn):
            outs = function(*inputs, **keywords)
        outs, grads = (outs, gradient) if several else ([outs], [gradient])
        return Splice([(y.node, g) for y, g in zip(outs, grads) if y.node is not None and g is not None])

    pull_taped = pull_wanted = pull

    def saved_arrays(self, node):
        return [(f"inputs[{i}]", t.data) for i, t in enumerate(node.saved[1]) if isinstance(t, Tensor)]


def checkpoint(function, *inputs, **keywords):
    """`function(*inputs)`, keeping only the inputs: what lies between is computed again in backward.

    Gradients reach the inputs and whatever tensors the function closes over.
    The second run draws the same random bits, and leaves running statistics alone.

    Args:
        function: of tensors, gives a tensor or a tuple of tensors.
        inputs, keywords: its arguments.

    Raises:
        ArgumentError: it gives something else.

    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
    """
    drawn = random.default().state()
    with no_grad():
        result = function(*inputs, **keywords)
    if not recording():
        return result
    several = isinstance(result, (tuple, list))
    kinds = [type(y).__name__ for y in (result if several else [result]) if not isinstance(y, Tensor)]
    if kinds:
        raise ArgumentError(message("checkpoint", "function", "one that gives a tensor, or a tuple of them", kinds[0]))
    outs = [Tensor(y.data) for y in (result if several else [result])]
    node = Node()
    node.op, node.hooks, node.seq = _checkpoint, None, tick()
    node.saved = function, inputs, keywords, several, drawn
    node.edges = tuple([t.node if isinstance(t, Tensor) else None for t in inputs])
    node.shape = tuple([y.shape for y in outs]) if several else outs[0].shape
    for i, y in enumerate(outs):
        if is_float(y.dtype):
            y.node = Pick(node, i, tick(), y.shape) if several else node
    return tuple(outs) if several else outs[0]


_checkpoint = _Checkpoint()
