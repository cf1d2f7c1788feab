"""What single layers do beyond calling their op: state, masks, lengths, options, refusals."""
import copy
import pickle

import numpy as np
import pytest

import minidl as ml
from minidl import Tensor, nn, ops
from minidl.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)


def f(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def close(x, y, tol=1e-5):
    np.testing.assert_allclose(x.data, getattr(y, "data", y), rtol=tol, atol=tol)


# -- norms ---------------------------------------------------------------------------------

@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize("kind, shape", [(nn.BatchNorm1d, (6, 3)), (nn.BatchNorm1d, (4, 3, 5)),
                                         (nn.BatchNorm2d, (2, 3, 4, 5)), (nn.BatchNorm3d, (2, 3, 2, 3, 2))])
def test_batch_norm_follows_the_batches(kind, shape, momentum):
    layer, mean, variance = kind(3, momentum=momentum), np.zeros(3), np.ones(3)
    axes = (0, *range(2, len(shape)))
    for step in range(1, 4):
        x = f(*shape) * step + step
        share = 1 / step if momentum is None else momentum
        mean = (1 - share) * mean + share * x.mean(axes)
        variance = (1 - share) * variance + share * x.var(axes, ddof=1)
        y = layer(Tensor(x))
        close(y.mean(axes), np.zeros(3), 1e-4)
        close(y.var(axes), np.ones(3), 1e-3)
    close(layer.running_mean, mean)
    close(layer.running_var, variance)
    assert layer.num_batches_tracked.item() == 3 and not layer.running_mean.requires_grad
    column = (3,) + (1,) * (len(shape) - 2)
    x = f(*shape)
    close(layer.eval()(Tensor(x)), (x - mean.reshape(column)) / np.sqrt(variance.reshape(column) + 1e-5), 1e-4)


def test_instance_norm_may_follow_the_batches():
    layer, x = nn.InstanceNorm2d(3, track_running_stats=True), f(2, 3, 4, 5)
    close(layer(Tensor(x)), (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5))
    close(layer.running_mean, 0.1 * x.mean((0, 2, 3)))
    close(layer.running_var, 0.9 + 0.1 * x.var((2, 3), ddof=1).mean(0))
    plain = nn.InstanceNorm2d(3)
    close(plain.eval()(Tensor(x)), plain.train()(Tensor(x)))


def test_running_statistics_do_not_disturb_backward():
    layer, x = nn.BatchNorm1d(3), Tensor(f(4, 3), requires_grad=True)
    (layer(x).sum() + layer(x).sum()).backward()       # two forwards, each of which moves the statistics
    old = {n: t.numpy().copy() for n, t in layer.state_dict().items()}
    del old["num_batches_tracked"]                     # old checkpoints lack it
    fresh = nn.BatchNorm1d(3)
    fresh.load_state_dict(old)
    close(fresh.eval()(x), layer.eval()(x))


@pytest.mark.parametrize("layer, shape, said", [
    (nn.BatchNorm1d(3), (1, 3), "more than one value to take a variance of in training"),
    (nn.InstanceNorm1d(3), (2, 3, 1), "more than one value to take a variance of in training"),
    (nn.BatchNorm2d(3), (2, 3, 4), "4 axes, of which the second is 3 channels"),
    (nn.BatchNorm1d(3), (2, 4), "2 or 3 axes, of which the second is 3 channels"),
    (nn.GroupNorm(2, 4), (2, 6, 3), "a second axis of 4 channels"), (nn.LayerNorm(4), (2, 3), "weight.* with D=3"),
    (nn.Dropout2d(), (2, 3), "4 axes"), (nn.LSTM(4, 3), (5, 4), "3 axes, the last of input_size=4"),
    (nn.Linear(3, 2), (2, 4), r"weight\(O,I\) with I=4"), (nn.Conv2d(4, 2, 3), (1, 3, 8, 8), ".*")])
def test_shapes_are_refused_in_words(layer, shape, said):
    with pytest.raises(ShapeError, match=rf"\[\w+\] .*expected {said}.*\(in {type(layer).__name__}\)$"):
        layer(Tensor(f(*shape)))


@pytest.mark.parametrize("make, said", [
    (lambda: nn.Conv2d(4, 6, 3, groups=4), r"\[Conv2d\] groups: expected a divisor of in_channels=4 and out_chan"),
    (lambda: nn.Conv2d(4, 6, (3, 3, 3)), r"\[Conv2d\] kernel_size: expected an integer from 1 on, or 2 of them, got"),
    (lambda: nn.Conv2d(4, 6, -1), r"\[Conv2d\] kernel_size: expected an integer from 1 on, or 2 of them, got -1"),
    (lambda: nn.Conv1d(4, 6, 3, 2, "same"), r'\[Conv1d\] padding: expected "same" with stride 1 only, got stride 2'),
    (lambda: nn.Conv2d(4, 6, 3, padding_mode="mirror"), r"\[Conv2d\] padding_mode: expected one of zeros, reflect"),
    (lambda: nn.GroupNorm(3, 4), r"\[GroupNorm\] num_groups: expected a divisor of num_channels=4"),
    (lambda: nn.Dropout(1.5), r"\[Dropout\] p: expected a number in \[0, 1\]"),
    (lambda: nn.Embedding(4, 2, 4), r"\[Embedding\] padding_idx: expected a row's number, below 4"),
    (lambda: nn.LSTM(4, 3, proj_size=3), r"\[LSTM\] proj_size: expected an integer in \[0, 2\], got 3"),
    (lambda: nn.LSTM(4, 3, 0), r"\[LSTM\] num_layers: expected an integer, at least 1, got 0"),
    (lambda: nn.GRU(4, -3), r"\[GRU\] hidden_size: expected an integer, at least 1, got -3"),
    (lambda: nn.Dropout("half"), r"\[Dropout\] p: expected a number in \[0, 1\], got 'half'"),
    (lambda: nn.TransformerEncoderLayer(4, 2, activation="tan"), r"activation: expected relu, gelu, or a function"),
    (lambda: nn.GRU(4, 3, dropout=2), r"\[GRU\] dropout: expected a number in \[0, 1\]"),
    (lambda: nn.LSTM(4, 3)(Tensor(f(5, 2, 4)), Tensor(f(1, 2, 3))), r"\[LSTM\] hx: expected a pair of tensors"),
    (lambda: nn.MultiheadAttention(6, 4), r"\[MultiheadAttention\] num_heads: expected a divisor of embed_dim=6"),
    (lambda: nn.ZeroPad2d((1, 2, 3)), r"\[ZeroPad2d\] padding: expected an integer, or 4 of them"),
    (lambda: nn.ConvTranspose1d(2, 2, 3, 2)(Tensor(f(1, 2, 4)), (12,)), r"output_size: expected sizes in 9 to 10")])
def test_settings_are_refused_in_words(make, said):
    with pytest.raises(ArgumentError, match=said):
        make()


# -- convolutions, padding -------------------------------------------------------------------

@pytest.mark.parametrize("mode, numpy_mode", [("zeros", "constant"), ("reflect", "reflect"), ("replicate", "edge"),
                                              ("circular", "wrap")])
@pytest.mark.parametrize("padding, widths", [("same", ((1, 2), (1, 1))), ((2, 1), ((2, 2), (1, 1))),
                                             ("valid", ((0, 0), (0, 0)))])
def test_convolutions_pad_in_four_ways(mode, numpy_mode, padding, widths):
    layer, x = nn.Conv2d(2, 3, (4, 3), padding=padding, padding_mode=mode), f(2, 2, 6, 5)
    padded = np.pad(x, ((0, 0), (0, 0), *widths), numpy_mode)
    close(layer(Tensor(x)), ops.conv2d(Tensor(padded), layer.weight, layer.bias))
    if padding == "same":
        assert layer(Tensor(x)).shape == (2, 3, 6, 5)


@pytest.mark.parametrize("n", [7, 8, 9])
def test_a_transposed_convolution_gives_any_size_back(n):
    down, up = nn.Conv1d(1, 1, 3, 3, 1), nn.ConvTranspose1d(1, 1, 3, 3, 1)
    x = Tensor(f(1, 1, n))
    assert up(down(x), output_size=x.shape).shape == x.shape


@pytest.mark.parametrize("kind, mode", [("Reflection", "reflect"), ("Replication", "edge"), ("Circular", "wrap"),
                                        ("Zero", "constant")])
def test_padding_names_the_last_axis_first(kind, mode):
    x = f(2, 3, 4, 5, 6)
    for n in (1, 2, 3):
        y = getattr(nn, f"{kind}Pad{n}d")((1, 2, 3, 0, 2, 1)[:2 * n])(Tensor(x[(0,) * (3 - n)]))
        close(y, np.pad(x[(0,) * (3 - n)], ((0, 0),) * 2 + ((2, 1), (3, 0), (1, 2))[3 - n:], mode))
    close(nn.ConstantPad1d((1, -1), 0.5)(Tensor(x)), np.pad(x[..., :-1], [(0, 0)] * 4 + [(1, 0)], constant_values=0.5))


# -- tables, computed weights, losses ------------------------------------------------------------

def test_a_padding_row_is_zero_and_stays():
    layer = nn.Embedding(5, 3, padding_idx=-1)
    assert layer.padding_idx == 4 and not layer.weight.data[4].any()
    layer(Tensor([[4, 1], [1, 4]])).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.data.sum(1), [0, 6, 0, 0, 0])
    table = f(6, 2)
    frozen = nn.Embedding.from_pretrained(table)
    live = nn.EmbeddingBag.from_pretrained(Tensor(table), freeze=False, mode="sum")
    assert not frozen.weight.requires_grad and live.weight.requires_grad and live.num_embeddings == 6
    close(frozen(Tensor([2, 0])), table[[2, 0]])
    close(live(Tensor([[2, 0]])), table[[2, 0]].sum(0, keepdims=True))


@pytest.mark.parametrize("make, dim, axes", [(lambda: nn.Linear(4, 3), 0, 1), (lambda: nn.Conv1d(4, 3, 2), 2, (0, 1)),
                                             (lambda: nn.Linear(4, 3), None, (0, 1))])
def test_weight_norm_parts_length_and_direction(make, dim, axes):
    layer = make()
    weight, x = layer.weight.numpy().copy(), Tensor(f(2, 4, 5) if isinstance(layer, nn.Conv1d) else f(2, 4))
    before = layer(x)
    assert nn.weight_norm(layer, dim=dim) is layer and list(layer.state_dict()) == ["bias", "weight_g", "weight_v"]
    close(layer(x), before)
    np.testing.assert_allclose(layer.weight_g.data.ravel(), np.sqrt((weight ** 2).sum(axes)).ravel(), rtol=1e-5)
    layer.weight_v.assign(layer.weight_v.numpy() * 3)              # the length of the direction does not matter
    twin = copy.deepcopy(layer)
    twin.weight_g.assign(twin.weight_g.numpy() * 2)
    close(layer.weight, weight)
    close(twin.weight, 2 * weight)
    assert nn.remove_weight_norm(twin) is twin and sorted(twin.state_dict()) == ["bias", "weight"]
    assert type(twin) is type(make())
    close(twin.weight, 2 * weight)
    layer(x).sum().backward()
    assert layer.weight_g.grad is not None and layer.weight_v.grad is not None
    with pytest.raises(ArgumentError, match=r"\[weight_norm\] name: expected a parameter of \w+, got 'weight'"):
        nn.weight_norm(layer)


@pytest.mark.parametrize("make, dim", [(lambda: nn.Linear(4, 3), 0), (lambda: nn.ConvTranspose2d(4, 3, 2), 1)])
def test_spectral_norm_approaches_one(make, dim):
    layer = nn.spectral_norm(make(), n_power_iterations=3, dim=dim)
    assert list(layer.state_dict()) == ["bias", "weight_orig", "weight_u", "weight_v"]
    for _ in range(100):
        assert layer.weight is not layer.weight            # each use improves the estimate
    matrix = np.moveaxis(layer.eval().weight.numpy(), dim, 0).reshape(3, -1)
    assert np.linalg.svd(matrix)[1][0] == pytest.approx(1, rel=1e-4)
    close(layer.weight, layer.weight, 0)                   # evaluation leaves it alone
    plain = nn.remove_spectral_norm(copy.deepcopy(layer))
    np.testing.assert_allclose(plain.weight.data.reshape(layer.weight.shape), layer.weight.data, rtol=1e-6)


@pytest.mark.parametrize("make", [
    lambda: nn.weight_norm(nn.Linear(4, 3)),
    lambda: nn.weight_norm(nn.spectral_norm(nn.LSTM(4, 3), "weight_hh_l0"), "weight_ih_l0")])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_computed_weights_are_copied(make, again):
    layer, x = make().eval(), Tensor(f(5, 2, 4))
    twin = again(layer)
    for name, p in layer.named_parameters():
        assert np.array_equal(p.numpy(), dict(twin.named_parameters())[name].numpy())
    first, second = [np.asarray(y[0] if isinstance(y, tuple) else y) for y in (layer(x), twin(x))]
    np.testing.assert_array_equal(first, second)
    for p in twin.parameters():
        p.assign(0)
    assert all(p.numpy().any() for p in layer.parameters())


def test_computed_weights_serve_twice_in_one_graph():
    layer, x = nn.spectral_norm(nn.Linear(4, 3)), Tensor(f(2, 4))
    (layer(x).sum() - layer(x * 2.0).sum()).backward()                 # a discriminator of real and fake
    assert layer.weight_orig.grad is not None
    lstm = nn.weight_norm(nn.weight_norm(nn.LSTM(3, 4), "weight_hh_l0"), "weight_ih_l0")
    nn.remove_weight_norm(lstm, "weight_hh_l0")
    names = ["bias_ih_l0", "bias_hh_l0", "weight_ih_l0_g", "weight_ih_l0_v", "weight_hh_l0"]
    assert [n for n, _ in lstm.named_parameters()] == names


def test_weights_of_classes_are_state():
    loss = nn.CrossEntropyLoss(Tensor([1.0, 2.0]))
    assert list(loss.state_dict()) == ["weight"] and not list(loss.parameters())
    assert loss.to("float64")(Tensor(np.eye(2)), Tensor([0, 1])).dtype == np.float64


def test_noise_is_for_training():
    x = Tensor(np.ones((200, 200), "f4"))
    for kind, rate in ((nn.Dropout, 0.3), (nn.StochasticDepth, 0.3), (nn.Dropout, 0.0), (nn.Dropout, 1.0)):
        layer = kind(rate)
        y = layer(x).data
        assert (y == 0).mean() == pytest.approx(rate, abs=0.1) and layer.eval()(x) is x
        assert rate == 1 or y.max() == pytest.approx(1 / (1 - rate))
    rows = nn.StochasticDepth(0.5)(x).data
    assert (rows == rows[:, :1]).all() and len(np.unique(rows)) == 2
    channels = nn.Dropout2d()(Tensor(np.ones((9, 9, 3, 3), "f4"))).data
    assert (channels == channels[..., :1, :1]).all() and len(np.unique(channels)) == 2
    ml.seed(1)
    first = nn.Dropout()(x)
    ml.seed(1)
    close(nn.Dropout()(x), first, 0)
