"""What makes images: real weights, old files, bounds, seeds."""
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import minidl as ml
from minidl import io, nn
from minidl.errors import ArgumentError, ShapeError
from minidl.models.generative.cyclegan import ResNetGenerator, ResNetGeneratorConfig
from minidl.models.generative.dcgan import DCGANConfig, DCGANGenerator
from minidl.models.generative.generator import between
from minidl.models.generative.patchgan import PatchGAN, PatchGANConfig
from minidl.models.generative.pix2pix import UNetGenerator
from minidl.models.generative.vae import M2, VAE, ConvVAE, ConvVAEConfig, M2Config, VAEConfig

FORMATS = Path(__file__).parents[1] / "parity" / "formats"
FACES = find_spec("gan_face_generate")


@pytest.mark.real
@pytest.mark.skipif(FACES is None, reason="needs the packages in tests/real.txt")
def test_real_weights_draw_faces():
    """Smooth as photos are, skin in the middle, each another; between two of them all steps are short."""
    model = ml.create_model("dcgan", Path(FACES.origin).parent / "weights.tar")
    ends = [ml.randn((100,), key=ml.random.key(s)) for s in (3, 5)]
    drawn, path = model.sample(24, seed=1).numpy(), model.draw(between(*ends, 7)).numpy()
    for faces in drawn, path:
        assert np.corrcoef(faces[..., 1:].ravel(), faces[..., :-1].ravel())[0, 1] > 0.95
        red, green, blue = faces[:, :, 20:44, 20:44].mean((0, 2, 3))
        assert red > green > blue
    assert drawn.std(0).mean() > 0.2
    steps = np.sqrt(((path[1:] - path[:-1]) ** 2).mean((1, 2, 3)))
    assert steps.max() < 0.6 * np.sqrt(((path[0] - path[-1]) ** 2).mean())


def test_old_statistics_of_instance_norms_are_dropped():
    weights = io.weights(FORMATS / "instance_norm_stats_legacy.pth")
    model = ResNetGenerator(ResNetGeneratorConfig(width=len(weights["model.1.bias"]), num_blocks=1))
    assert not ml.load_weights(model, weights, strict=False).unexpected_keys
    assert (model.model[4].weight.numpy() == weights["model.4.weight"]).all()


@pytest.mark.parametrize("kind, config", [(DCGANGenerator, DCGANConfig.tiny()), (M2, M2Config.tiny())])
def test_an_image_depends_on_its_seed_and_number_alone(kind, config):
    model = kind(config)
    together = model.sample(5, seed=7).numpy()
    for i in range(5):
        np.testing.assert_allclose(model.sample(1, seed=7, first=i).numpy()[0], together[i], atol=1e-6)
    ml.set_num_threads(1)
    alone = model.sample(5, seed=7).numpy()
    ml.set_num_threads(2)
    assert (alone == together).all() and (model.sample(5, seed=8).numpy() != together).any()


@pytest.mark.parametrize("size", [8, 28, 36, 50, 64])
def test_dcgans_of_any_even_size(size, tmp_path):
    model = DCGANGenerator(DCGANConfig(size, 1, 3, 2))
    images = model(ml.randn((2, 3)))
    assert images.shape == (2, 1, size, size) and model.adversary()(images).shape == (2,)
    model.save_pretrained(tmp_path)
    assert ml.create_model("dcgan", tmp_path / "model.safetensors").config == model.config


def test_sizes_are_found_in_files_of_any_order(tmp_path):
    state = DCGANGenerator(DCGANConfig(64, 1, 3, 2)).state_dict()
    io.save({name: state[name] for name in sorted(state)}, tmp_path / "sorted.safetensors")
    assert ml.create_model("dcgan", tmp_path / "sorted.safetensors").config == DCGANConfig(64, 1, 3, 2)


def test_between_opposite_latents_lies_what_is_between():
    found = between(ml.tensor([1.2, -3.0]), ml.tensor([-0.4, 1.0]), 5).numpy()
    np.testing.assert_allclose(found, np.linspace([1.2, -3.0], [-0.4, 1.0], 5), atol=1e-6)


def test_sizes_that_do_not_fit():
    with pytest.raises(ArgumentError, match="even"):
        DCGANConfig(27)
    for wrong in ({"image_size": "x"}, {"width": 0}, {"latent_size": 2.5}):
        with pytest.raises(ArgumentError, match=f"{[*wrong][0]}: expected an integer"):
            DCGANConfig(**wrong)
    with pytest.raises(ShapeError, match="multiples of 64"):
        UNetGenerator(UNetGenerator.config_class.tiny())(ml.zeros((1, 3, 96, 64)))
    with pytest.raises(ShapeError, match="at least 24 pixels"):
        PatchGAN(PatchGANConfig(width=2))(ml.zeros((1, 3, 16, 64)))
    with pytest.raises(ArgumentError, match="knows no classes"):
        DCGANGenerator(DCGANConfig.tiny()).sample(label=1)
    with pytest.raises(ArgumentError, match=r"class in \[0, 3\)"):
        M2(M2Config.tiny()).sample(label=3)
    with pytest.raises(ArgumentError, match=r"labels: expected classes in \[0, 3\)"):
        M2(M2Config.tiny()).draw(ml.zeros((1, 3)))
    with pytest.raises(ArgumentError, match="expected none, got 'truncation'"):
        DCGANGenerator(DCGANConfig.tiny()).sample(truncation=0.5)


# -- bounds ------------------------------------------------------------------------------

def normal(x, mean=0.0, variance=1.0):
    return -0.5 * (np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance)


def test_bounds_against_the_integral():
    """With one latent number the likelihood is an integral over a line: the bounds lie below it, and go up to it."""
    ml.seed(0)
    model = VAE(VAEConfig(3, 1, 6, 1))
    image = ml.rand((4, 1, 3, 3))
    z = np.linspace(-8, 8, 4001)
    logits = model.decode(ml.tensor(z[:, None].astype("f4"))).numpy().reshape(len(z), 9).astype("f8")
    pixels = image.numpy().reshape(4, 9).astype("f8")
    joint = normal(z)[:, None] - np.logaddexp(0, logits).sum(1)[:, None] + logits @ pixels.T
    likelihood = np.log(np.exp(joint).sum(0) * (z[1] - z[0]))
    noise = ml.randn((2000, 4, 1))
    many = ml.concat([image] * 2000, 0)
    elbo = model.bound(many, noise=noise.reshape(8000, 1)).numpy().reshape(2000, 4).mean(0)
    mean = [model.importance_bound(many[:8000 // k], k, noise.reshape(k, 8000 // k, 1)).numpy().reshape(-1, 4).mean(0)
            for k in (1, 5, 50)]
    np.testing.assert_allclose(elbo, mean[0], atol=0.05)
    assert (np.diff(mean, axis=0) > 0).all() and (mean[2] < likelihood + 0.03).all()
    np.testing.assert_allclose(model.importance_bound(image, 2000, noise).numpy(), likelihood, atol=0.05)


def test_beta_and_the_divergence():
    ml.seed(1)
    model, image, noise = ConvVAE(ConvVAEConfig.tiny()), ml.rand((3, 1, 8, 8)), ml.zeros((3, 3))
    mu, logvar = (x.numpy().astype("f8") for x in model.encode(image))
    kl = 0.5 * (mu ** 2 + np.exp(logvar) - logvar - 1).sum(1)
    bounds = [model.bound(image, noise=noise, beta=b).numpy() for b in (0.0, 1.0, 4.0)]
    np.testing.assert_allclose(bounds[0] - bounds[1], kl, rtol=2e-3)
    np.testing.assert_allclose(bounds[0] - bounds[2], 4 * kl, rtol=1e-3)


def test_m2_sums_over_classes_what_it_does_not_know():
    ml.seed(2)
    model, image = M2(M2Config.tiny()).eval(), ml.rand((3, 1, 8, 8))
    shares = ml.softmax(model.classify(image), -1).numpy().astype("f8")
    bounds = np.stack([model.bound(image, ml.full((3,), k)).numpy() for k in range(3)], 1) - np.log(3)
    want = (shares * (bounds - np.log(shares))).sum(1)
    np.testing.assert_allclose(model.unlabelled_bound(image).numpy(), want, rtol=1e-5)
    labels = ml.tensor([1, -1, 2])
    error = -np.log(shares[[0, 2], [1, 2]]).mean()
    total = -(bounds[0, 1] + want[1] + bounds[2, 2]) / 3 + 0.1 * error
    assert model.loss(image, labels).item() == pytest.approx(total, rel=1e-5)
    assert model.loss(image).item() == pytest.approx(-want.mean(), rel=1e-5)


def test_m2_learns_from_few_labels():
    """Four images with labels, and forty without, of four patterns."""
    ml.seed(3)
    rng = np.random.default_rng(0)
    kinds = rng.random((4, 1, 8, 8)) > 0.5
    classes = np.concatenate([np.arange(4), rng.integers(0, 4, 40)])
    images = ml.tensor((kinds[classes] ^ (rng.random((44, 1, 8, 8)) < 0.15)).astype("f4"))
    labels = ml.tensor(np.where(np.arange(44) < 4, classes, -1))
    model = M2(M2Config(8, 1, 4, 32, 3))
    optimizer = ml.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(120):
        optimizer.zero_grad()
        model.loss(images, labels, alpha=1.0).backward()
        optimizer.step()
    assert (model.classify(images).numpy().argmax(1) == classes).mean() > 0.9


def test_names_of_norms_are_checked():
    with pytest.raises(ArgumentError, match="batch, instance"):
        PatchGANConfig(norm="layer")
    assert isinstance(PatchGAN(PatchGANConfig(width=2)).model[3], nn.InstanceNorm2d)
