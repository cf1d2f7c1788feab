"""Games: who learns when, stopping and going on bit for bit, pools, averages, adaptive augmentation, what is said."""
import copy

import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim
from minidl.data import ArrayDataset, DataLoader
from minidl.errors import ArgumentError, MinidlError
from minidl.models.generative.cyclegan import ResNetGenerator, ResNetGeneratorConfig
from minidl.models.generative.dcgan import DCGANConfig, DCGANGenerator
from minidl.models.generative.patchgan import PatchGAN, PatchGANConfig
from minidl.models.generative.pix2pix import UNetGenerator, UNetGeneratorConfig
from minidl.models.generative.stylegan2 import StyleGAN2Config, StyleGAN2Generator
from minidl.models.generative.vae import VAE, VAEConfig
from minidl.train import (
    GAN,
    AdaptiveAugment,
    AdversarialTrainer,
    Callback,
    CycleGAN,
    ImagePool,
    ModeCollapse,
    ModelCheckpoint,
    Pix2Pix,
)
from minidl.train.adaptive import COLOUR, GEOMETRY
from minidl.train.penalties import lipschitz_penalty

RNG = np.random.default_rng(0)


def style_game(**options):
    generator = StyleGAN2Generator(StyleGAN2Config(8, 1, 2, 32, 4, "skip", None, 4, 4, 2))
    return GAN(generator, **{"r1": 1.0, "r1_every": 2, "path_length": 2.0, "path_every": 2,
                             "augment": AdaptiveAugment(p=0.5, every=1), **options})


def cycle_game():
    networks = [ResNetGenerator(ResNetGeneratorConfig(1, 1, 2, 1)) for _ in "ab"]
    judges = [PatchGAN(PatchGANConfig(1, 2, 1)) for _ in "ab"]
    return CycleGAN(*networks, *judges, pool=3)


def pair_game():
    return Pix2Pix(UNetGenerator(UNetGeneratorConfig(1, 1, 2, 5)), PatchGAN(PatchGANConfig(2, 2, 1, "batch")), l1=10.0)


def dcgan_game(**options):
    return GAN(DCGANGenerator(DCGANConfig(8, 1, 4, 4)), **options)


GAMES = {"styles": (style_game, (8, 8)), "cycle": (cycle_game, (8, 8)), "pairs": (pair_game, (32, 32)),
         "noise": (dcgan_game, (8, 8))}


def trainer(name, directory=None, epochs=2, seed=3, **settings):
    """A small run whose result depends on everything: latents, noise, pools, augmentation, dropout, averages."""
    ml.seed(seed)
    make, size = GAMES[name]
    game = make()
    optimizers = {turn: optim.Adam([p for m in game.learners(turn) for p in m.parameters()], 2e-3, (0.0, 0.99))
                  for turn in game.turns}
    settings.setdefault("callbacks", [ModelCheckpoint(directory, every_steps=1)] if directory else [])
    followed = game.generator if hasattr(game, "generator") else game.forth
    run = AdversarialTrainer(game, optimizers, epochs=epochs, ema=optim.EMA(followed, 0.9), schedules={
        turn: optim.CosineAnnealingLR(o, 20) for turn, o in optimizers.items()}, **settings)
    rng = np.random.default_rng(1)
    images = np.tanh(rng.standard_normal((12, 1, *size))).astype("f4")
    second = rng.integers(0, 2, 12) if name in ("styles", "noise") else -images[::-1].copy()
    return run, DataLoader(ArrayDataset(images, second), 4, shuffle=True, seed=5)


def state(run):
    return {**{n: t.numpy() for n, t in run.model.state_dict().items()},
            **{f"ema.{n}": a for n, a in run.ema.shadow.items()}}


class StopAt(Callback):
    """Plays Ctrl-C at a step."""

    def __init__(self, step):
        self.at = step

    def on_step_end(self, trainer):
        if trainer.step == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", GAMES)
def test_a_stopped_game_goes_on_bit_for_bit_at_any_number_of_threads(tmp_path, name):
    straight, loader = trainer(name)
    straight.fit(loader)
    stopped, loader = trainer(name, tmp_path)
    stopped.callbacks.append(StopAt(4))
    ml.set_num_threads(1)
    try:
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(loader)
    finally:
        ml.set_num_threads(2)
    again, loader = trainer(name, tmp_path, seed=9)
    again.fit(loader, resume="auto")
    assert again.history == straight.history and set(again.history[0]) == {"epoch", "loss", *again.model.turns}
    for key, value in state(straight).items():
        np.testing.assert_array_equal(state(again)[key], value, err_msg=key)


@pytest.mark.parametrize("name", GAMES)
def test_in_a_turn_its_learners_change_and_no_others(name):
    run, loader = trainer(name)
    game, seen = run.model, []
    for turn in game.turns:
        own = run.optimizer[turn].step

        def step(turn=turn, own=own):
            before = {n: p.numpy().copy() for n, p in game.named_parameters()}
            assert all((p.grad is not None) <= any(p is q for m in game.learners(turn) for q in m.parameters())
                       for p in game.parameters())
            own()
            changed = {n.split(".")[0] for n, p in game.named_parameters() if (p.numpy() != before[n]).any()}
            seen.append((turn, changed))
        run.optimizer[turn].step = step
    run.train_batch(next(iter(loader)))
    assert seen == [(turn, set(names)) for turn, names in game.turns.items()]
    assert all(p.requires_grad for p in game.parameters())


def test_what_was_frozen_stays_frozen():
    run, loader = trainer("noise")
    frozen = run.model.discriminator.main[0].weight
    frozen.requires_grad = False
    before = frozen.numpy().copy()
    run.train_batch(next(iter(loader)))
    assert (frozen.numpy() == before).all() and not frozen.requires_grad


def test_a_gan_learns_a_distribution():
    """Points on the image plane: a bright half, left or right; made images end up as either."""
    ml.seed(0)
    side = RNG.integers(0, 2, 64)
    images = np.where((np.arange(8) < 4)[None, None, None] ^ side[:, None, None, None].astype(bool), 0.9, -0.9)
    images = np.broadcast_to(images, (64, 1, 8, 8)).astype("f4")
    game = GAN(DCGANGenerator(DCGANConfig(8, 1, 4, 8)), r1=0.5, r1_every=1)
    optimizers = {t: optim.Adam([p for m in game.learners(t) for p in m.parameters()], 4e-3, (0.0, 0.99))
                  for t in game.turns}
    run = AdversarialTrainer(game, optimizers, epochs=40, callbacks=[ModeCollapse(patience=200)])
    run.fit(DataLoader(ArrayDataset(images, side), 16, shuffle=True, seed=0))
    made = game.generator.sample(64, seed=1).numpy()
    halves = made[..., :4].mean((1, 2, 3)), made[..., 4:].mean((1, 2, 3))
    assert (np.sign(halves[0]) == -np.sign(halves[1])).mean() > 0.9
    assert 0.15 < (halves[0] > 0).mean() < 0.85


def test_divergence_is_an_error_that_names_turn_and_step():
    run, loader = trainer("noise")
    run.train_batch(next(iter(loader)))
    run.model.generator.main[0].weight.assign(np.nan)
    with pytest.raises(MinidlError, match=r"loss of the discriminator: expected a finite number, got nan at step 1"):
        run.fit(loader)


def test_mode_collapse_is_a_warning():
    run, loader = trainer("noise", callbacks=[ModeCollapse(patience=3)])
    run.model.generator.main[0].weight.assign(0.0)
    run.optimizer["generator"].step = lambda: None
    with pytest.warns(RuntimeWarning, match="all alike"):
        run.fit(loader)


@pytest.mark.parametrize("options, text", [({"optimizers": {}}, "one each of discriminator, generator"),
                                           ({"accumulate": 2}, "accumulate")])
def test_wrong_settings(options, text):
    game = dcgan_game()
    optimizers = {t: optim.SGD(getattr(game, t).parameters(), 0.1) for t in game.turns}
    with pytest.raises(ArgumentError, match=text):
        AdversarialTrainer(game, **{"optimizers": optimizers, **options})
    with pytest.raises(ArgumentError, match="got SGD"):
        AdversarialTrainer(game, optimizers["generator"])
    with pytest.raises(ArgumentError, match="as VAE has none of its own"):
        GAN(VAE(VAEConfig.tiny()))
    assert [*AdversarialTrainer(game, dict(reversed(optimizers.items()))).optimizer] == [*game.turns]
    with pytest.raises(ArgumentError, match="validation"):
        AdversarialTrainer(game, optimizers).fit([], validation=[])
    with pytest.raises(ArgumentError, match="no styles"):
        dcgan_game(path_length=1.0)


@pytest.mark.parametrize("kind", ["logistic", "hinge", "least_squares", "wasserstein"])
def test_kinds_of_losses(kind):
    game, image = dcgan_game(kind=kind), ml.randn((4, 1, 8, 8))
    for turn in game.turns:
        game.loss(turn, image, None, 0).backward()
    assert all(p.grad is not None for p in game.parameters())


def test_a_wasserstein_critic_is_kept_smooth_and_learns_more_often():
    run, loader = trainer("noise")
    run.model.every = {"generator": 3}
    steps = []
    run.optimizer["generator"].step = lambda: steps.append(run.step)
    run.fit(loader)
    assert steps == [0, 3] and run.step == 6
    weight = ml.randn((1, 1, 4, 4))                    # of a linear score: its slope is the same everywhere
    image, made = ml.randn((2, 3, 1, 4, 4))
    got = lipschitz_penalty(lambda x: (x * weight).sum((1, 2, 3)), image, made).item()
    assert got == pytest.approx((float((weight.numpy() ** 2).sum()) ** 0.5 - 1) ** 2, rel=1e-4)
    squares = lipschitz_penalty(lambda x: (x * x).sum((1, 2, 3)), image, made, shares=ml.full((3, 1, 1, 1), 0.25))
    lengths = np.sqrt(((2 * (0.25 * image.numpy() + 0.75 * made.numpy())) ** 2).sum((1, 2, 3)))
    assert squares.item() == pytest.approx(((lengths - 1) ** 2).mean(), rel=1e-4)
    game = dcgan_game(kind="wasserstein", lipschitz=10.0, critic_steps=2)
    game.loss("discriminator", ml.randn((4, 1, 8, 8)), None, 0).backward()
    assert game.every == {"generator": 2} and game.discriminator.main[0].weight.grad is not None


def test_averages_of_a_generator():
    """After n updates by a constant decay: the geometric sum of what the weights were."""
    layer = nn.Linear(1, 1, bias=False)
    average, want = optim.EMA(layer, 0.9, warmup=False), float(layer.weight.item())
    for i in range(5):
        layer.weight.assign(float(i))
        average.update()
        want = 0.9 * want + 0.1 * i
    with average.average_parameters():
        assert layer.weight.item() == pytest.approx(want, rel=1e-6)
    assert layer.weight.item() == 4.0


# -- pools ------------------------------------------------------------------------------------

def test_a_pool_gives_each_image_once_and_half_of_them_later():
    ml.seed(0)
    pool, given = ImagePool(20), []
    for i in range(100):
        given.append(pool(ml.tensor(np.arange(4 * i, 4 * i + 4, dtype="f4").reshape(4, 1, 1, 1))).numpy().ravel())
    given, kept = np.concatenate(given), [float(x.item()) for x in pool.images]
    assert (given[:20] == np.arange(20)).all() and len(kept) == 20
    late = np.arange(400)[20:]
    fresh = given[20:] == late
    assert 0.4 < fresh.mean() < 0.6 and (given[20:] <= late).all()
    old, times = np.unique(given[20:][~fresh], return_counts=True)
    assert times.max() == 1 and set(old).isdisjoint(kept)                      # (an image leaves the pool when given)
    image = ml.randn((3, 1, 2, 2))
    assert (ImagePool(0)(image).numpy() == image.numpy()).all()


# -- adaptive augmentation ---------------------------------------------------------------------

def test_with_probability_zero_nothing_changes_and_with_one_all_do():
    image = ml.randn((16, 3, 12, 12))
    assert AdaptiveAugment()(image) is image
    for change in GEOMETRY + COLOUR:
        ml.seed(1)
        changed = AdaptiveAugment(p=1.0, changes=(change,))(image).numpy()
        share = (np.abs(changed - image.numpy()).max((1, 2, 3)) > 1e-4).mean()
        assert share > (0.2 if change in ("flip", "luma") else 0.6), change
        ml.seed(1)
        some = AdaptiveAugment(p=0.3, changes=(change,))(ml.concat([image] * 8, 0)).numpy()
        assert (np.abs(some - np.concatenate([image.numpy()] * 8)).max((1, 2, 3)) > 1e-4).mean() < 0.45, change


def test_what_changes_do():
    ml.seed(2)
    image = ml.randn((40, 3, 8, 8))
    x = image.numpy()
    flipped = AdaptiveAugment(p=1.0, changes=("flip",))(image).numpy()
    turned = AdaptiveAugment(p=1.0, changes=("turn",))(image).numpy()
    for a, b, c in zip(x, flipped, turned):
        assert min(np.abs(b - a).max(), np.abs(b - a[..., ::-1]).max()) < 1e-5
        assert min(np.abs(c - np.rot90(a, k, (1, 2))).max() for k in range(4)) < 1e-5
    shifted = AdaptiveAugment(p=1.0, changes=("shift",))(image).numpy()
    for a, b in zip(x, shifted):
        around = np.pad(a, ((0, 0), (1, 1), (1, 1)), "symmetric")
        assert min(np.abs(b - around[:, i:i + 8, j:j + 8]).max() for i in range(3) for j in range(3)) < 1e-5
    for change in ("hue", "luma", "saturation", "contrast", "brightness"):
        y = AdaptiveAugment(p=1.0, changes=(change,))(image).numpy()
        grey = [a.mean(1) for a in (x, y)]                                     # what is along the axis of greys
        if change in ("hue", "saturation"):
            np.testing.assert_allclose(grey[1], grey[0], atol=1e-5)
        if change in ("hue", "luma"):
            np.testing.assert_allclose((y ** 2).sum(1), (x ** 2).sum(1), rtol=1e-3, atol=1e-4)
        if change == "luma":
            assert all(min(np.abs(b - a).max(), np.abs(b + a).max()) < 1e-5 for a, b in zip(*grey))
        if change == "brightness":
            assert np.ptp(y - x, axis=(1, 2, 3)).max() < 1e-5
        if change == "contrast":
            assert np.ptp(y / x, axis=(1, 2, 3)).max() < 1e-2


@pytest.mark.parametrize("scores, direction", [(1.0, 1), (-1.0, -1), (0.0, -1)])
def test_the_probability_follows_how_sure_the_discriminator_is(scores, direction):
    augment = AdaptiveAugment(target=0.6, images=1000, every=4, p=0.5)
    for _ in range(8):
        augment.observe(ml.full((10,), scores))
    assert augment.p.item() == pytest.approx(0.5 + direction * 80 / 1000)
    for _ in range(200):
        augment.observe(ml.full((10,), scores))
    assert augment.p.item() == (1.0 if direction > 0 else 0.0)


def test_gradients_pass_through_augmentation_twice():
    ml.seed(3)
    image = ml.tensor(RNG.standard_normal((2, 3, 6, 6)), requires_grad=True)
    augment = AdaptiveAugment(p=1.0)
    slope, = ml.gradients((augment(image) ** 3).sum(), [image], create_graph=True)
    curve, = ml.gradients((slope * slope).sum(), [image])
    assert np.isfinite(curve.numpy()).all() and np.abs(curve.numpy()).max() > 0


def test_games_can_be_copied():
    game = style_game()
    assert copy.deepcopy(game).generator.synthesis.b8.conv1.resample_filter.shape == (4, 4)
