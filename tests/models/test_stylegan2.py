"""StyleGAN2 beyond its reference cases: files, truncation, mixing, noise, groups, second derivatives."""
from pathlib import Path

import numpy as np
import pytest

import minidl as ml
from minidl import io, ops
from minidl.errors import ArgumentError, ShapeError
from minidl.models import KeyMap
from minidl.models.generative.stylegan2 import StyleGAN2Config, StyleGAN2Generator, modulated
from minidl.models.generative.stylegan2_discriminator import (
    StyleGAN2Discriminator,
    StyleGAN2DiscriminatorConfig,
    deviation,
)
from minidl.models.generative.stylegan2_layers import ARCHITECTURES
from minidl.train.penalties import path_lengths, r1_penalty

FORMATS = Path(__file__).parents[1] / "parity" / "formats"
SMALL = StyleGAN2Config.tiny().replace(num_classes=0, image_size=16)


@pytest.fixture
def model():
    ml.seed(0)
    made = StyleGAN2Generator(SMALL).eval()
    for name, p in made.named_parameters():
        if name.endswith("noise_strength"):
            p.assign(0.3)
    made.mapping.w_avg.assign(ml.randn((4,)))
    return made


def test_a_pickled_network_is_read_and_nothing_in_it_is_run():
    path = FORMATS / "stylegan2_network.pkl"
    weights, model = io.weights(path, "G_ema"), ml.create_model("stylegan2", path)
    assert model.config.image_size == 8 and model.config.latent_size == weights["mapping.fc0.weight"].shape[1]
    assert (model.synthesis.b8.conv1.weight.numpy() == weights["synthesis.b8.conv1.weight"]).all()
    assert np.isfinite(model.sample(2).numpy()).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_everywhere(architecture):
    ml.seed(1)
    generator = StyleGAN2Generator(SMALL.replace(architecture=architecture))
    config = StyleGAN2DiscriminatorConfig.tiny().replace(num_classes=0, architecture=architecture, group_size=2)
    judge = StyleGAN2Discriminator(config)
    ops.sum(judge(generator(ml.randn((4, 4))))).backward()
    for p in (*generator.parameters(), *judge.parameters()):
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0


def test_modulation_is_a_convolution_with_weights_of_each_image():
    """Eq. 1 to 3 as they stand, image by image, in float64."""
    rng = np.random.default_rng(0)
    x, weight, style = (ml.tensor(rng.standard_normal(s)) for s in ((3, 4, 5, 5), (2, 4, 3, 3), (3, 4)))
    got = modulated(x, weight, style).numpy()
    for i in range(3):
        scaled = weight.numpy() * style.numpy()[i][None, :, None, None]
        scaled /= np.sqrt((scaled ** 2).sum((1, 2, 3), keepdims=True) + 1e-8)
        np.testing.assert_allclose(got[i], ops.conv2d(x[i:i + 1], scaled, None, 1, 1).numpy()[0], atol=1e-12)


def test_truncation_goes_from_the_mean_to_the_style(model):
    z = ml.randn((3, 4))
    full, none, half = (model.styles(z, truncation=t).numpy() for t in (1.0, 0.0, 0.5))
    mean = model.mapping.w_avg.numpy()
    assert np.allclose(none, mean) and np.allclose(half, (full + mean) / 2, atol=1e-6)
    some = model.styles(z, truncation=0.5, cutoff=2).numpy()
    assert (some[:, :2] == half[:, :2]).all() and (some[:, 2:] == full[:, 2:]).all()
    assert full.shape == (3, 6, 4)


def test_the_mean_style_is_followed_in_training_only(model):
    before = model.mapping.w_avg.numpy().copy()
    style = model.mapping(ml.randn((64, 4))).numpy()
    assert (model.mapping.w_avg.numpy() == before).all()
    model.train()
    style = model.mapping(ml.randn((64, 4))).numpy()
    np.testing.assert_allclose(model.mapping.w_avg.numpy(), before + 0.005 * (style.mean(0) - before), rtol=1e-5)


def test_the_mean_style_can_be_measured(model):
    model.average_styles(2000)
    want = model.mapping(ml.randn((2000, 4))).numpy()
    assert (np.abs(model.mapping.w_avg.numpy() - want.mean(0)) < 6 * want.std(0) / 2000 ** 0.5).all()


def test_mixed_styles_keep_layers_apart(model):
    a, b = model.styles(ml.randn((2, 4))), model.styles(ml.randn((2, 4)))
    first, last = (model.synthesize(model.mixed(a, b, n)).numpy() for n in (0, 6))
    assert (first == model.synthesize(b).numpy()).all() and (last == model.synthesize(a).numpy()).all()
    middle = model.mixed(a, b, 3).numpy()
    assert (middle[:, :3] == a.numpy()[:, :3]).all() and (middle[:, 3:] == b.numpy()[:, 3:]).all()


def test_noise_changes_details_as_its_strength_says(model):
    styles = model.styles(ml.randn((2, 4)))
    const, again, none = (model.synthesize(styles, n).numpy() for n in ("const", None, "none"))
    drawn = [model.synthesize(styles, "random").numpy() for _ in range(2)]
    assert (const == again).all() and (drawn[0] != drawn[1]).any() and (const != none).any()
    for name, p in model.named_parameters():
        if name.endswith("noise_strength"):
            p.assign(0.0)
    assert (model.synthesize(styles, "random").numpy() == model.synthesize(styles, "none").numpy()).all()
    with pytest.raises(ArgumentError, match="random, const or none"):
        model.synthesize(styles, "some")


def test_deviation_over_groups_by_hand():
    x = np.random.default_rng(0).standard_normal((6, 2, 3, 3))
    got = deviation(ml.tensor(x), 3).numpy()
    for i in range(6):
        group = x[i % 2::2]
        want = np.sqrt(((group - group.mean(0)) ** 2).mean(0) + 1e-8).mean()
        np.testing.assert_allclose(got[i], want)
    with pytest.raises(ShapeError, match="multiple of 4"):
        deviation(ml.tensor(x), 4)


def test_classes_change_images_and_must_be_given():
    model = StyleGAN2Generator(StyleGAN2Config.tiny()).eval()
    z, labels = ml.randn((2, 4)), ml.tensor([0, 1])
    assert (model(z, labels).numpy() != model(z, labels[::-1]).numpy()).any()
    assert (model(z, labels).numpy() == model(z, ml.one_hot(labels, 2, dtype="float32")).numpy()).all()
    with pytest.raises(ArgumentError, match="labels"):
        model(z)
    with pytest.raises(ArgumentError, match="power of 2"):
        StyleGAN2Config(image_size=28)
    with pytest.raises(ArgumentError, match="channel_base: expected an integer, at least 64"):
        StyleGAN2Config(64, channel_base=32)           # (no channels would be left)


# -- second derivatives ------------------------------------------------------------------------

def slopes_agree(loss, parameters, rng, eps=1e-5):
    """The derivative of a loss, that holds gradients itself, along a random direction, against a difference."""
    loss().backward()
    directions = [rng.standard_normal(p.shape) for p in parameters]
    slope = sum((p.grad.numpy() * d).sum() for p, d in zip(parameters, directions))
    values, own = [], [p.numpy().copy() for p in parameters]
    for sign in (eps, -eps):
        for p, start, d in zip(parameters, own, directions):
            p.assign(start + sign * d)
        values.append(loss().item())
    assert slope == pytest.approx((values[0] - values[1]) / (2 * eps), rel=1e-5, abs=1e-9)
    assert abs(slope) > 1e-6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_r1_through_the_whole_discriminator(architecture):
    ml.seed(2)
    config = StyleGAN2DiscriminatorConfig(8, 2, 2, 32, 3, architecture, None, 2, 1)
    model, rng = StyleGAN2Discriminator(config).to("float64"), np.random.default_rng(0)
    image, labels = ml.tensor(rng.standard_normal((4, 2, 8, 8))), ml.tensor([0, 1, 1, 0])
    names = [(n, p) for n, p in model.named_parameters() if n != "b4.out.bias"]
    slopes_agree(lambda: r1_penalty(model, image, labels), [p for _, p in names if p.ndim > 1], rng)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_path_lengths_through_the_whole_synthesis(architecture):
    ml.seed(3)
    model = StyleGAN2Generator(SMALL.replace(image_size=8, architecture=architecture)).to("float64")
    rng = np.random.default_rng(0)
    z, noise = ml.tensor(rng.standard_normal((2, 4))), ml.tensor(rng.standard_normal((2, 2, 8, 8)))

    def loss():
        styles = model.eval().styles(z)
        return ops.mean(ops.square(path_lengths(model.synthesize(styles), styles, noise) - 0.1))
    slopes_agree(loss, [p for p in model.parameters() if p.ndim > 1], rng)


def test_r1_of_a_linear_score_is_known():
    weight = ml.randn((1, 2, 3, 3))
    got = r1_penalty(lambda x: ops.sum(x * weight, (1, 2, 3)), ml.randn((5, 2, 3, 3)))
    assert got.item() == pytest.approx(float((weight.numpy() ** 2).sum()), rel=1e-5)


# -- names -----------------------------------------------------------------------------------

def test_rows_that_change_arrays_go_both_ways():
    keymap = KeyMap([("w", "a", (lambda x: x / 4, lambda x: x * 4)), ("b", None), (None, "c")])
    ours = keymap.read({"w": np.full(2, 8.0), "b": np.zeros(1), "d": np.ones(1)})
    assert set(ours) == {"a", "d"} and (ours["a"] == 2).all()
    back = keymap.write({"a": np.full(2, 2.0), "c": np.zeros(1), "d": np.ones(1)})
    assert set(back) == {"w", "d"} and (back["w"] == 8).all() and keymap.official_name("c") == "c"


def test_both_layouts_hold_the_same_network(tmp_path, model):
    z = ml.randn((2, 4))
    want = model(z).numpy()
    for layout in model.layouts:
        model.save_pretrained(tmp_path / layout, layout)
        assert (ml.from_pretrained(tmp_path / layout)(z).numpy() == want).all()
        told = ml.create_model("stylegan2", tmp_path / layout / "model.safetensors").eval()
        assert told(z).numpy().shape == want.shape and (told(z).numpy() == want).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sizes_are_read_from_shapes(tmp_path, architecture):
    config = StyleGAN2Config(32, 1, 3, 64, 8, architecture, None, 6, 5, 2)
    StyleGAN2Generator(config).save_pretrained(tmp_path)
    assert ml.create_model("stylegan2", tmp_path / "model.safetensors").config == config
