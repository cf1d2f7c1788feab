"""Every check x every layer. A layer that is not in the table fails `test_none_is_left_out`."""
import copy
import inspect

import numpy as np
import pytest

import minidl as ml
from minidl import Tensor, backend, nn
from minidl.testing.cupy_double import counting

RNG = np.random.default_rng(0)
CONTAINERS = {"Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"}


def f(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def i(high, *shape):
    return RNG.integers(0, high, shape)


POINTWISE = ("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish",
             "Hardsigmoid", "Hardtanh", "Sigmoid", "LogSigmoid", "Softplus", "Softsign", "Tanh", "Tanhshrink", "GLU",
             "Softmax", "LogSoftmax")
SIGNAL, IMAGE, VOLUME = f(2, 4, 9), f(2, 4, 6, 5), f(2, 4, 4, 5, 4)
QUERY, MEMORY = f(3, 2, 4), f(5, 2, 4)
P, SIGNS = RNG.uniform(0.1, 0.9, (3, 4)).astype(np.float32), np.array([1, -1, 1])
CASES = [                                              # (constructor call, *inputs)
    ("Linear(4, 3)", f(2, 5, 4)), ("Linear(4, 3, bias=False)", f(4)), ("Bilinear(3, 4, 2)", f(5, 3), f(5, 4)),
    ("Identity()", IMAGE), ("Flatten()", IMAGE), ("Unflatten(1, (2, 2))", IMAGE),
    *[(f"{name}()", f(3, 4)) for name in POINTWISE],
    ("LeakyReLU(0.3)", f(3, 4)), ("PReLU(4, 0.5)", IMAGE), ("GELU('tanh')", f(3, 4)), ("Softmax(1)", IMAGE),
    ("Conv1d(4, 6, 3)", SIGNAL), ("Conv2d(4, 6, 3)", IMAGE), ("Conv3d(4, 6, 3)", VOLUME),
    ("Conv1d(4, 6, 3, 2, 1, 2, 2, False)", SIGNAL), ("Conv2d(4, 4, (3, 1), padding='same', groups=4)", IMAGE),
    ("Conv2d(4, 6, 4, padding='same', padding_mode='circular')", IMAGE),
    ("Conv3d(4, 2, 2, padding=1, padding_mode='reflect')", VOLUME),
    ("Conv2d(4, 6, 3, padding='valid', padding_mode='replicate')", IMAGE),
    ("ConvTranspose1d(4, 6, 3)", SIGNAL), ("ConvTranspose2d(4, 6, 3, 2, 1, 1, 2)", IMAGE),
    ("ConvTranspose3d(4, 2, 2, bias=False)", VOLUME),
    ("BatchNorm1d(4)", SIGNAL), ("BatchNorm1d(4)", f(5, 4)), ("BatchNorm2d(4, momentum=None)", IMAGE),
    ("BatchNorm3d(4)", VOLUME), ("BatchNorm2d(4, affine=False)", IMAGE), ("FrozenBatchNorm2d(4)", IMAGE),
    ("BatchNorm2d(4, track_running_stats=False)", IMAGE), ("InstanceNorm1d(4)", SIGNAL),
    ("InstanceNorm2d(4, affine=True)", IMAGE), ("InstanceNorm3d(4, affine=True, track_running_stats=True)", VOLUME),
    ("LayerNorm(5)", IMAGE), ("LayerNorm((6, 5), bias=False)", IMAGE),
    ("LayerNorm(5, elementwise_affine=False)", IMAGE), ("RMSNorm(5)", IMAGE), ("RMSNorm((6, 5), 1e-3)", IMAGE),
    ("GroupNorm(2, 4)", IMAGE), ("LocalResponseNorm(3)", IMAGE),
    ("Dropout()", f(8, 8)), ("Dropout1d(0.3)", SIGNAL), ("Dropout2d()", IMAGE), ("Dropout3d()", VOLUME),
    ("AlphaDropout()", f(8, 8)), ("StochasticDepth(0.5)", IMAGE), ("StochasticDepth(0.5, 'batch')", IMAGE),
    ("Embedding(7, 3)", i(7, 2, 5)), ("Embedding(7, 3, padding_idx=-1)", i(7, 2, 5)),
    ("EmbeddingBag(7, 3)", i(7, 2, 5)), ("EmbeddingBag(7, 3, 'sum', padding_idx=1)", i(7, 2, 5)),
    ("RNN(4, 3)", f(5, 2, 4)), ("RNN(4, 3, 2, 'relu', batch_first=True)", f(2, 5, 4)), ("LSTM(4, 3)", f(5, 2, 4)),
    ("LSTM(4, 3, 2, bidirectional=True, proj_size=2, dropout=0.5)", f(5, 2, 4)), ("GRU(4, 3, bias=False)", f(5, 2, 4)),
    ("GRU(4, 3, 2, bidirectional=True)", f(5, 2, 4)), ("RNNCell(4, 3)", f(2, 4), f(2, 3)),
    ("LSTMCell(4, 3)", f(2, 4), (f(2, 3), f(2, 3))), ("GRUCell(4, 3)", f(2, 4), f(2, 3)),
    ("MultiheadAttention(4, 2, 0.3, batch_first=True)", QUERY, QUERY, f(3, 2, 4)),
    ("MultiheadAttention(4, 2, kdim=3, vdim=5)", QUERY, f(6, 2, 3), f(6, 2, 5)),
    ("TransformerEncoderLayer(4, 2, 6)", QUERY),
    ("TransformerEncoderLayer(4, 2, 6, 0.0, 'gelu', norm_first=True)", QUERY),
    ("TransformerDecoderLayer(4, 2, 6)", QUERY, MEMORY),
    ("TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6), 2)", QUERY),
    ("TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 6), 2, nn.LayerNorm(4))", QUERY, MEMORY),
    ("Transformer(4, 2, 1, 1, 6)", MEMORY, QUERY),
    *[(f"{kind}{n}d({settings})", x) for n, x in enumerate((SIGNAL, IMAGE, VOLUME), 1) for kind, settings in (
        ("MaxPool", "2"), ("MaxPool", "3, 1, 1, return_indices=True"), ("AvgPool", "3, 2, 1, True, False"),
        ("AdaptiveAvgPool", "2"), ("AdaptiveMaxPool", "2"), ("AdaptiveMaxPool", "1, return_indices=True"),
        ("ConstantPad", "1, 0.5"), ("ZeroPad", "1"), ("ReflectionPad", "1"), ("ReplicationPad", "2"),
        ("CircularPad", "1"))],
    ("Upsample(scale_factor=2)", SIGNAL), ("Upsample(7, mode='bicubic', align_corners=True)", IMAGE),
    ("UpsamplingNearest2d(scale_factor=2)", IMAGE), ("UpsamplingBilinear2d((7, 9))", IMAGE), ("PixelShuffle(2)", IMAGE),
    ("PixelUnshuffle(2)", f(2, 3, 4, 6)), ("ChannelShuffle(2)", IMAGE), ("Unfold(3, 1, 1, 2)", IMAGE),
    ("Fold((5, 6), 2)", f(2, 12, 20)),
    *[(f"LPPool{n}d(3, 2)", np.abs(x) + 1) for n, x in enumerate((SIGNAL, IMAGE, VOLUME), 1)],
    *[(f"MaxUnpool{n}d(2)", x[..., :1], x[..., :1].astype(int) * 0) for n, x in enumerate((SIGNAL, IMAGE, VOLUME), 1)],
    *[(f"{name}Loss()", f(3, 4), P) for name in ("MSE", "L1", "SmoothL1", "Huber", "PoissonNLL", "KLDiv", "Focal")],
    ("MSELoss('none')", f(3, 4), P), ("GaussianNLLLoss(True)", f(3, 4), f(3, 4), P), ("BCELoss()", P, P[::-1]),
    ("CrossEntropyLoss(label_smoothing=0.1)", f(3, 4), i(4, 3)), ("NLLLoss()", f(3, 4), i(4, 3)),
    ("CrossEntropyLoss(ml.tensor([1.0, 2, 3, 4]))", f(3, 4), i(4, 3)), ("DiceLoss()", P, P[::-1]),
    ("BCEWithLogitsLoss(pos_weight=ml.tensor([1.0, 2, 3, 4]))", f(3, 4), P), ("MultiMarginLoss()", f(3, 4), i(4, 3)),
    ("CTCLoss()", f(6, 2, 4), i(3, 2, 2) + 1, np.array([6, 5]), np.array([2, 1])),
    ("CosineEmbeddingLoss()", f(3, 4), f(3, 4), SIGNS), ("TripletMarginLoss(3.0)", f(3, 4), f(3, 4), f(3, 4)),
    ("MarginRankingLoss(5.0)", f(3), f(3), SIGNS), ("HingeEmbeddingLoss()", f(3), SIGNS),
    ("SoftMarginLoss()", f(3), SIGNS), ("CosineSimilarity()", f(3, 4), f(3, 4)),
    ("PairwiseDistance()", f(3, 4), f(3, 4)),
]
layers = pytest.mark.parametrize("call, inputs", [pytest.param(call, arrays, id=call) for call, *arrays in CASES])


def build(call):
    """The layer, its random numbers the same every time, and none of its parameters at a flat place."""
    ml.seed(1)
    layer, rng = eval(f"nn.{call}"), np.random.default_rng(2)
    for parameter in layer.parameters():
        if not np.ptp(parameter.data):
            parameter.assign(parameter.numpy() + rng.standard_normal(parameter.shape) * 0.1)
    return layer


def given(layer, inputs, device="cpu"):
    """The inputs as tensors, floats as leaves in the layer's dtype."""
    dtype = next((p.dtype for p in layer.parameters()), np.dtype("float32"))

    def leaf(a):
        if isinstance(a, tuple):
            return tuple(map(leaf, a))
        floating = a.dtype.kind == "f"
        return Tensor(backend.to_device(a.astype(dtype) if floating else a.copy(), device), requires_grad=floating)

    return list(map(leaf, inputs))


def run(layer, inputs, seed=3):
    """The floating outputs, and the inputs' tensors."""
    ml.seed(seed)
    inputs = given(layer, inputs)
    return [y for y in tensors(layer(*inputs)) if y.dtype.kind != "i"], tensors(inputs)


def tensors(values):
    if isinstance(values, Tensor):
        return [values]
    return [] if values is None else [t for v in values for t in tensors(v)]


def total(outs):
    weights = np.random.default_rng(5)
    terms = [(y * weights.standard_normal(y.shape).astype(y.dtype)).sum() for y in outs]
    return sum(terms[1:], start=terms[0])


def same(xs, ys):
    assert len(xs) == len(ys)
    for x, y in zip(xs, ys):
        np.testing.assert_array_equal(x.data, y.data)


def test_none_is_left_out():
    public = {n for n, c in vars(nn).items() if inspect.isclass(c) and issubclass(c, nn.Module) and c.__name__ == n}
    assert public - CONTAINERS == {call.partition("(")[0] for call, *_ in CASES}


@layers
def test_text_makes_the_layer_again(call, inputs):
    layer = build(call)
    if not list(layer.children()):
        again = eval(f"nn.{layer!r}")
        assert repr(again) == repr(layer)
        shapes, others = [[(n, p.shape) for n, p in x.named_parameters()] for x in (layer, again)]
        assert shapes == others


@layers
def test_state_goes_round(call, inputs):
    layer, other = build(call).eval(), eval(f"nn.{call}").eval()
    other.load_state_dict({n: t.numpy().copy() for n, t in layer.state_dict().items()})
    same(run(layer, inputs)[0], run(other, inputs)[0])
    with nn.shapes_only():
        empty = eval(f"nn.{call}").eval()
    assert empty.num_parameters() == layer.num_parameters()
    empty.load_state_dict(layer.state_dict())
    same(run(layer, inputs)[0], run(empty, inputs)[0])


@layers
def test_the_seed_decides_and_evaluation_is_repeatable(call, inputs):
    layer = build(call)
    twin = copy.deepcopy(layer)
    same(run(layer, inputs)[0], run(twin, inputs)[0])
    same(layer.state_dict().values(), twin.state_dict().values())
    layer.eval()
    before = [t.numpy().copy() for t in layer.state_dict().values()]
    same(run(layer, inputs, seed=1)[0], run(layer, inputs, seed=2)[0])
    for old, new in zip(before, layer.state_dict().values()):
        np.testing.assert_array_equal(old, new.data)


@layers
def test_gradients_reach_every_parameter_and_input(call, inputs):
    layer = build(call)
    outs, leaves = run(layer, inputs)
    total(outs).backward()
    wanted = [(f"input {k}", t) for k, t in enumerate(leaves) if t.requires_grad]
    for name, tensor in [*layer.named_parameters(), *wanted]:
        assert tensor.grad is not None and tensor.grad.dtype == tensor.dtype and tensor.grad.data.any(), name


@layers
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_dtype_stays(call, inputs, dtype):
    layer = build(call)
    assert {y.dtype for y in run(layer, inputs)[0]} == {np.dtype("float32")}
    layer.to(dtype)
    if list(layer.parameters()):
        assert {str(y.dtype) for y in run(layer, inputs)[0]} == {dtype}


@layers
def test_checkpointing_changes_nothing(call, inputs):
    plain, saving = build(call), build(call)
    outs, leaves = run(plain, inputs)
    total(outs).backward()
    again, others = run(Checkpointed(saving), inputs)
    total(again).backward()
    same(outs, again)
    same(plain.state_dict().values(), saving.state_dict().values())      # running statistics moved once
    same([p.grad for p in plain.parameters()], [p.grad for p in saving.parameters()])
    same([t.grad for t in leaves if t.requires_grad], [t.grad for t in others if t.requires_grad])


@layers
def test_a_training_step_on_a_device_moves_nothing(call, inputs, double):
    here, there, results = build(call), build(call).to("cuda"), []
    for layer, device in ((here, "cpu"), (there, "cuda")):
        arguments = given(layer, inputs, device)
        ml.seed(3)
        with counting() as moved:
            outs = [y for y in tensors(layer(*arguments)) if y.dtype.kind != "i"]
            sum([(y * y).sum() for y in outs[1:]], start=(outs[0] * outs[0]).sum()).backward()
        assert not moved.total
        leaves = [*layer.parameters(), *[t for t in tensors(arguments) if t.requires_grad]]
        results.append([*outs, *layer.state_dict().values(), *[t.grad for t in leaves]])
    for x, y in zip(*results, strict=True):
        assert y.device == "cuda:0"
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-5, atol=1e-5)


class Checkpointed(nn.Module):
    def __init__(self, layer):
        self.layer = layer

    def forward(self, *inputs):
        return ml.checkpoint(lambda *xs: tuple(tensors(self.layer(*xs))), *inputs)
