"""Tests of the tests: each bug of a list is planted, and a generated check or an existing test must notice.

A bug is a function whose source is changed in one place; its `__code__` is swapped, so that whoever holds the
function has the bug. A check that nobody has seen fail is a hope.
"""
import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from runpy import run_path
from typing import NamedTuple

import numpy as np
import pytest

from minidl import autograd, backend, data, io, optim, shapes, specialise, tape, train
from minidl.dispatch import Kernel, use_kernels
from minidl.op import REGISTRY, Primitive
from minidl.testing import contractcheck, opcheck, parity
from minidl.testing.kernelcheck import check_kernel
from minidl.testing.parity import compare
from minidl.testing.samples import samples

TESTS = Path(__file__).parents[1]
LOADER = data.loader.DataLoader


# -- planting ------------------------------------------------------------------------------

_numbers = count()


@contextmanager
def planted(function, old, new):
    """Inside, `function` has `new` in place of `old`, which stands in its source once."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in\n{source}"
    tree = ast.parse(source.replace(old, new))
    tree.body[0].decorator_list = []
    text, file, scope = ast.unparse(tree), f"<planted {next(_numbers)}>", {}
    linecache.cache[file] = len(text), None, text.splitlines(True), file        # (arithmetic rules are read)
    exec(compile(text, file, "exec"), function.__globals__, scope)
    sound, function.__code__ = function.__code__, scope[function.__name__].__code__
    try:
        written_anew()
        yield
    finally:
        function.__code__ = sound
        written_anew()


def written_anew():
    """All that was written from declarations is written again when it is next needed."""
    for op in REGISTRY.values():
        op.rebuild()
        if isinstance(op, Primitive) and op.rule:
            op.vjp(op.rule)


@contextmanager
def declared(name, **changes):
    """Inside, the op says something else of itself."""
    op = REGISTRY[name]
    sound = {key: getattr(op, key) for key in changes}
    vars(op).pop("contract", None)
    vars(op).update(changes)
    try:
        written_anew()
        yield
    finally:
        vars(op).pop("contract", None)
        vars(op).update(sound)
        written_anew()


def rule(name, old, new):
    return lambda: planted(REGISTRY[name].rule, old, new)


def forward(name, old, new):
    op = REGISTRY[name]
    return lambda: planted(getattr(op, "closed_form", None) or op.fn, old, new)


def code(function, old, new):
    return lambda: planted(function, old, new)


# -- noticing ------------------------------------------------------------------------------

def generated(check, name):
    """A generated check, on all samples of an op."""
    def run(fixtures):
        for inputs, params in samples(REGISTRY[name]):
            (opcheck.CHECKS | contractcheck.CHECKS)[check](REGISTRY[name], inputs, params)
    return run


def contract(name):
    """The generated test of an op's contract."""
    return lambda fixtures: contractcheck.check_contract(REGISTRY[name])


@cache
def _tests(file):
    return run_path(str(TESTS / file))


def existing(file, test, /, *args, **keywords):
    """A test in another file."""
    def run(fixtures):
        function = _tests(file)[test]
        wanted = fixtures.keys() & inspect.signature(function).parameters
        function(*args, **{name: fixtures[name] for name in wanted}, **keywords)
    return run


def agrees(case):
    """Agreement with the reference results of a case."""
    def run(fixtures):
        verdict = compare.check(parity.load(TESTS / "parity", case))
        assert verdict.status == "pass", verdict
    return run


def layer(call):
    """The test that a layer inside a checkpoint gives what it gives outside."""
    def run(fixtures):
        layers = _tests("nn/test_every_layer.py")
        inputs = next(arrays for text, *arrays in layers["CASES"] if text == call)
        layers["test_checkpointing_changes_nothing"](call, inputs)
    return run


def without_collector(test):
    def run(fixtures):
        import gc
        gc.collect()
        gc.disable()
        try:
            test(fixtures)
        finally:
            gc.enable()
    return run


TAPE, CALLS, CONTRACTS = "engine/test_tape.py", "engine/test_calls.py", "engine/test_contracts.py"
TRAINER, SAVING, OPTIMIZERS = "train/test_trainer.py", "io/test_save_load.py", "optim/test_optimizers.py"
DATASETS = "data/test_datasets.py"


class Bug(NamedTuple):
    """What is wrong, how to plant it, and what must notice."""

    name: str
    plant: Callable
    notices: Callable


PLANTED = [
    # rules
    Bug("a wrong factor", rule("exp", "g * out", "g * out * 1.001"), generated("gradient", "exp")),
    Bug("the thunk of the other input",
        rule("multiply", "(lambda: g * b), (lambda: g * a)", "(lambda: g * a), (lambda: g * b)"),
        generated("gradient", "multiply")),
    Bug("a term is left out",
        rule("softmax", "product - out * product.sum(axis, True)", "product"),
        generated("gradient", "softmax")),
    Bug("a wrong sign", rule("subtract", "-g", "g"), generated("gradient", "subtract")),
    Bug("no gradient of the second derivative",
        rule("tanh", "(1.0 - out * out)", "(1.0 - out.detach() * out.detach())"),
        generated("second_gradient", "tanh")),
    Bug("a rule that forgets the axis",
        rule("cumsum", "cumsum(g, axis, not reverse)", "cumsum(g, -1, not reverse)"),
        generated("gradient", "cumsum")),
    Bug("a rule that writes into the gradient",
        rule("cumprod", ".copy()", ""),
        generated("layouts", "cumprod")),
    Bug("a gradient in another dtype",
        rule("relu", ".astype(g.dtype)", ".astype('float64')"),
        generated("floats", "relu")),
    Bug("a gradient off the device",
        rule("relu", "(out > 0).astype(g.dtype)", "type(g)((out > 0).astype(g.dtype).numpy())"),
        generated("device", "relu")),
    Bug("a thunk that is opened although unwanted",
        code(autograd.walk, "if path is not None and seq not in path and seq not in ends:", "if False:"),
        existing(TAPE, "test_only_wanted_gradients_are_computed")),
    # forwards and closed forms
    Bug("a float64 that leaks",
        forward("exp", "xp.exp(x)", "xp.exp(x) * xp.asarray(1.0)"),
        generated("floats", "exp")),
    Bug("a transfer in a forward",
        forward("sum", "x.sum(", "xp.asarray(x.tolist(), x.dtype).reshape(x.shape).sum("),
        generated("device", "sum")),
    Bug("an input that is written",
        forward("cumprod", "xp.cumprod(x, axis=axis)", "xp.cumprod(x, axis=axis, out=x)"),
        generated("layouts", "cumprod")),
    Bug("a closed form that is another function",
        forward("layer_norm", "eps)", "2 * eps)"),
        generated("rungs", "layer_norm")),
    Bug("a closed form without a gradient",
        rule("layer_norm", "return gx, gweight,", "return gx, None,"),
        generated("rungs", "layer_norm")),
    Bug("memory that is not what it seems",
        forward("exp", "xp.exp(x)", "xp.exp(x.ravel('K').reshape(x.shape))"),
        generated("layouts", "exp")),
    Bug("an empty axis that crashes",
        forward("cumsum", "xp.cumsum(x, axis=axis)", "xp.cumsum(x, axis=axis) + 0 // len(x)"),
        generated("empties", "cumsum")),
    Bug("other bits every time",
        forward("exp", "xp.exp(x)", "xp.exp(x) * (1 + 1e-12 * __import__('random').random())"),
        generated("repeats", "exp")),
    # what ops say of themselves
    Bug("a contract that promises another output",
        lambda: declared("linear", contract_text="x(*,I) weight(O,I) bias(O)? -> (*,I)"),
        generated("fits", "linear")),
    Bug("a dropped axis in a contract",
        lambda: declared("linear", contract_text="x(*,I) weight(_,I) bias(_)? -> (*,O)"),
        existing(CONTRACTS, "test_the_body_of_an_op_holds_its_checks_and_none_of_its_words")),
    Bug("an undeclared wait",
        lambda: declared("nonzero", synchronises=False),
        generated("device", "nonzero")),
    Bug("a wait that never comes", lambda: declared("exp", synchronises=True), generated("device", "exp")),
    Bug("a gradient that is denied",
        lambda: declared("exp", differentiable=False),
        generated("gradient", "exp")),
    # calls
    Bug("no contract in the bodies",
        code(shapes.Contract.tests, "return lines", "return []"),
        existing(CONTRACTS, "test_each_rule_of_the_grammar_is_kept", "x(3)", [(4,)])),
    Bug("leading axes that are not compared",
        code(shapes.Contract.tests, "if {rest} != _star: raise Mismatch", "pass"),
        existing(CONTRACTS, "test_each_rule_of_the_grammar_is_kept", "x(*,D) y(*,D)", [(2, 3), (4, 3)])),
    Bug("no test of dtypes",
        code(backend.settle, "elif one.dtype != dtype:", "elif False:"),
        contract("add")),
    Bug("no test of dtypes in the bodies",
        code(specialise._check, '''f" and {n}.dtype is _d"''', '''""'''),
        contract("add")),
    Bug("no test of kinds",
        code(backend.settle, "if not kind_fits(slot.kind, one.dtype):", "if False:"),
        generated("integers", "exp")),
    Bug("no test of devices",
        code(backend.settle, "elif theirs is not of(first)", "elif False"),
        contract("add")),
    Bug("half types computed in 16 bits",
        code(backend.settle, "if dtype in HALVES and", "if False and"),
        generated("floats", "var")),
    # the tape and the walk
    Bug("broadcasting that is not undone",
        code(autograd._sum_to,
             "array.sum(unbroadcast_axes(array.shape, shape), keepdims=True).reshape(shape)", "array"),
        generated("gradient", "add")),
    Bug("broadcasting undone in 16 bits",
        code(autograd._sum_to, "if array.dtype in HALVES:", "if False:"),
        generated("floats", "broadcast_to")),
    Bug("the oldest node first",
        code(autograd.walk, "seq = -heappop(heap)", "seq = -heap.pop(heap.index(max(heap)))"),
        existing(TAPE, "test_checkpoint_recomputes_exactly")),
    Bug("only the last of several gradients",
        code(autograd.walk, "entry[1] + part,", "part,"),
        existing(TAPE, "test_gradients_in_the_middle_and_twice")),
    Bug("sums in memory of others",
        code(autograd.walk, "[end, part, False]", "[end, part, True]"),
        existing(TAPE, "test_sums_of_large_gradients_are_ours_to_add_into")),
    Bug("nothing let go during the walk",
        code(autograd.walk, "node.saved = None", "pass"),
        existing(TAPE, "test_saved_arrays_go_during_the_walk")),
    Bug("a node that keeps its output's tensor",
        code(specialise._tape, "_out.node = _node = new(Node)",
             "_out.node = _node = new(Node); _node.where = [_out]"),
        without_collector(existing(TAPE, "test_dead_graphs_need_no_collector", None))),
    Bug("stale values used",
        code(autograd.walk, "if last_mutation[0] > seq:", "if False:"),
        existing(TAPE, "test_a_changed_saved_array_is_refused")),
    Bug("views that hide a change",
        code(tape.owner, 'while getattr(array, "base", None) is not None:', "while False:"),
        existing(TAPE, "test_a_change_is_seen_through_views_and_in_outputs")),
    Bug("hooks that are not called",
        code(autograd.walk, "if node.hooks is not None:", "if False:"),
        existing(TAPE, "test_hooks_and_their_handles")),
    Bug("seeds of any shape",
        code(autograd._seed, "if seed.shape != output.shape or seed.dtype != output.dtype:", "if False:"),
        existing(CALLS, "test_a_seed_must_fit")),
    Bug("a spliced graph that is cut off",
        code(autograd.walk, "path |= _leading(zip(edges, parts), ends)", "pass"),
        generated("paths", "layer_norm")),
    Bug("outputs nobody used have no gradient",
        code(autograd.walk, "[None] * len(whole.shape)", "[gradient] * len(whole.shape)"),
        generated("paths", "lstm")),
    Bug("a checkpoint with other random bits",
        code(autograd._Checkpoint.pull, "recompute(), random.at(drawn)", "recompute()"),
        layer("Dropout()")),
    Bug("a checkpoint that moves statistics twice",
        code(tape.recompute.__wrapped__, "_again.set(True)", "_again.set(False)"),
        layer("BatchNorm2d(4, momentum=None)")),
    # loader, optimizers, files
    Bug("the last batch dropped",
        code(data.BatchSampler.__iter__, "if batch and not self.drop_last:", "if False:"),
        existing(DATASETS, "test_batches_of_indices")),
    Bug("a seed ignored",
        code(data.RandomSampler.__iter__, "epoch_key(self.seed, self.epoch)", "epoch_key(0, self.epoch)"),
        existing(DATASETS, "test_orders_of_epochs")),
    Bug("the same order in every epoch",
        code(data.RandomSampler.__iter__, "epoch_key(self.seed, self.epoch)", "epoch_key(self.seed, 0)"),
        existing(DATASETS, "test_orders_of_epochs")),
    Bug("a place in the epoch lost",
        code(LOADER.__iter__, "islice(self.batch_sampler, start, None)",
             "islice(self.batch_sampler, 0, None)"),
        existing(TRAINER, "test_a_stopped_run_goes_on_bit_for_bit", step=4)),
    Bug("random numbers not resumed",
        code(train.Trainer.load_state_dict, 'random.default().set_state(saved["random"])', "pass"),
        existing(TRAINER, "test_a_stopped_run_goes_on_bit_for_bit", step=4)),
    Bug("gradients of uneven batches added up",
        code(train.Trainer.train_batch, "loss * float(n)", "loss"),
        existing(TRAINER, "test_accumulation_is_the_big_batch", sizes=(25, 25, 10))),
    Bug("no correction of Adam's moments",
        code(optim.Adam.update, "(1 - beta1 ** t)", "1"),
        agrees("optimizers")),
    Bug("weight decay in the moments",
        code(optim.adam._Adam.moments, "if self.decoupled:", "if False:"),
        agrees("optimizers")),
    Bug("Nesterov's step that does not look ahead",
        code(optim.SGD.update, "g + velocity * group[\"momentum\"] if group[\"nesterov\"] else velocity",
             "velocity"),
        agrees("optimizers")),
    Bug("a schedule that is one step late",
        code(optim.StepLR.lr, "step // self.step_size", "(step - 1) // self.step_size"),
        agrees("optimizers")),
    Bug("an optimizer that writes the gradient",
        code(optim.Adam.update, "mean, square = ", "g *= 2; mean, square = "),
        existing(OPTIMIZERS, "test_goes_down_and_leaves_gradients_alone", "Adam")),
    Bug("a checkpoint written in place",
        code(io.checkpoint._replace, "os.replace(new, path)",
             "path.write_bytes(b''); path.write_bytes(new.read_bytes())"),
        existing(SAVING, "test_a_failing_disk_keeps_the_old_file", name="replace")),
    Bug("a checkpoint that is not on the disk",
        code(io.checkpoint._replace, "_sync(new)", "pass"),
        existing(SAVING, "test_a_failing_disk_keeps_the_old_file", name="fsync")),
]


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_a_planted_bug_is_noticed(bug, tmp_path, monkeypatch):
    def look():
        with monkeypatch.context() as patches, use_kernels("off"):         # the bugs are in the references
            try:
                bug.notices({"tmp_path": tmp_path, "monkeypatch": patches})
            finally:
                for name in REGISTRY.keys() - known:       # ops that a failing test left behind
                    del REGISTRY[name]

    known = set(REGISTRY)
    look()                                                 # the sound code passes
    with bug.plant(), pytest.raises((Exception, pytest.fail.Exception)) as noticed:
        look()
    assert not isinstance(noticed.value, (NameError, SyntaxError, ImportError)), "a bug that does not run"
    look()                                                 # and it is gone


def test_there_are_enough_of_them():
    assert len({bug.name for bug in PLANTED}) == len(PLANTED) >= 20


# -- the five classic bugs of kernels ----------------------------------------------------------

NORM = REGISTRY["layer_norm"]


def plain(xp, x, weight, bias, eps, normalized_shape):
    mean = x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + np.float32(eps))
    return (x - mean) * rstd * weight + bias, (mean, rstd)


def gradients(xp, g, kept, x, weight, bias, eps, normalized_shape):
    mean, rstd = kept
    xhat, rows, gx = (x - mean) * rstd, tuple(range(x.ndim - 1)), g * weight
    gx = rstd * (gx - gx.mean(-1, keepdims=True) - xhat * (gx * xhat).mean(-1, keepdims=True))
    return gx, (g * xhat).sum(rows), g.sum(rows)


def unmasked_tail(xp, x, weight, bias, eps, normalized_shape):
    """Elements beyond the row are subtracted from, and not masked again (triton-lang/triton, issue 9838)."""
    wide = np.concatenate([x, np.zeros((*x.shape[:-1], 1), x.dtype)], -1)
    mean = wide.sum(-1, keepdims=True) / x.shape[-1]
    rstd = 1 / np.sqrt(((wide - mean) ** 2).sum(-1, keepdims=True) / x.shape[-1] + np.float32(eps))
    return (x - mean) * rstd * weight + bias, (mean, rstd)


def no_weight_gradient(xp, g, kept, *arrays, **params):
    """Frozen without a word (unslothai/unsloth, issue 4533)."""
    return gradients(xp, g, kept, *arrays, **params)[0], None, None


def gradient_in_place(xp, g, kept, *arrays, **params):
    """The gradient of x is written where that of the output stands (unslothai/unsloth, issue 4550)."""
    found = gradients(xp, g, kept, *arrays, **params)
    g[...] = found[0]
    return found


def lossy_statistics(*args):
    """Mean and deviation are kept in 16 bits."""
    y, kept = plain(*args)
    return y, tuple([a.astype(np.float16).astype(a.dtype) for a in kept])


def one_pass_variance(xp, x, weight, bias, eps, normalized_shape):
    """E[x^2] - E[x]^2 cancels."""
    mean = x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt(np.maximum((x * x).mean(-1, keepdims=True) - mean * mean, 0) + np.float32(eps))
    return (x - mean) * rstd * weight + bias, (mean, rstd)


def run_kernel(forward=plain, backward=gradients):
    kernel = Kernel("layer_norm.test", "layer_norm", "cpu", forward, backward, lambda arrays, params: None)
    rng = np.random.default_rng(0)
    for shape, centre in (((4, 7), 0), ((2, 3, 5), 1), ((4, 64), 1000)):
        weight, bias = rng.standard_normal((2, shape[-1]))
        check_kernel(kernel, NORM, [rng.normal(centre, 1, shape), weight, bias], {})


def test_a_sound_kernel_passes():
    run_kernel()


@pytest.mark.parametrize("bug", [unmasked_tail, no_weight_gradient, gradient_in_place, lossy_statistics,
                                 one_pass_variance], ids=lambda bug: bug.__name__)
def test_a_kernel_bug_is_noticed(bug):
    with pytest.raises(AssertionError, match=r"^\[layer_norm.test\] "):
        run_kernel(**{"backward" if "gradient" in bug.__name__ else "forward": bug})


def test_a_kernel_that_differs_each_time_or_refuses():
    noise = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="output 0: expected the same bits twice"):
        run_kernel(lambda *args: (plain(*args)[0] * np.float32(1 + 1e-7 * noise.random()), plain(*args)[1]))
    kernel = Kernel("layer_norm.test", "layer_norm", "cpu", plain, gradients, lambda *_: "it is Monday")
    with pytest.raises(AssertionError, match=r"\[layer_norm.test\] refuses: it is Monday"):
        check_kernel(kernel, NORM, [np.ones((2, 3)), np.ones(3), np.ones(3)], {})
