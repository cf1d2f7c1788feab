"""`minidl train` of what makes images: adversaries, translators, autoencoders."""
import json
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from .. import optim
from ..data import DataLoader
from ..errors import ArgumentError, message
from ..models import create_model
from ..models.diffusion import schedulers
from ..models.diffusion.unet import UNet2DModel
from ..models.generative.cyclegan import ResNetGenerator
from ..models.generative.generator import Generator
from ..models.generative.pix2pix import UNetGenerator
from ..models.generative.vae import M2, VariationalAutoencoder
from ..models.registry import find
from ..ops import concat, tensor
from ..pipelines import DDPM
from ..tape import no_grad
from ..train import (
    GAN,
    AdaptiveAugment,
    AdversarialTrainer,
    CSVLogger,
    CycleGAN,
    DiffusionTrainer,
    ModeCollapse,
    ModelCheckpoint,
    Pix2Pix,
    ProgressBar,
)
from ..train.pictures import BoundTrainer, Picture, PicturePair, Previews, labelled_part, pairs, pictures
from .settings import demand_known

SHOWN = 64                         # images of a preview


class Job(NamedTuple):
    """What is trained, and on what."""

    network: Any                   # what is saved
    dataset: Any
    transform: Any
    make: Any                      # options of the trainer -> Trainer
    draw: Any                      # () -> images of a preview
    ema: Any = None
    saved: Any = None              # the pipeline that is saved with the network; None: it is saved alone


def train_generative(name, data, *, weights, settings, loss, epochs, lr, size, out, shared, device, resume, console,
                     as_json):
    """Train a model of the zoo whose task is image-generation; it goes to OUT/model, a picture an epoch to OUT."""
    kinds = ((VariationalAutoencoder, _autoencoder), (Generator, _gan), (UNetGenerator, _pix2pix),
             (ResNetGenerator, _cyclegan), (UNet2DModel, _diffusion))
    make = next((make for kind, make in kinds if issubclass(find(name).model, kind)), None)
    if make is None:
        raise ArgumentError(message("train", "model", "one that makes images, not the rival of such a one", name))
    job = make(name, data, weights, settings, dict(loss), lr, size, shared, device)
    loader = DataLoader(job.dataset, shuffle=True, drop_last=True, transform=job.transform, **shared)
    if not len(loader):
        raise ArgumentError(message("train", "--batch", f"at most {len(job.dataset)} images", shared["batch_size"]))
    low, high = getattr(job.network, "pixel_range", (-1.0, 1.0))
    run = job.make(epochs=epochs, device=device, callbacks=[
        ProgressBar(console=console), ModelCheckpoint(out), CSVLogger(out / "history.csv"),
        Previews(out, job.draw, (low, high))])
    console.print(f"{len(job.dataset)} training images; {run.model.num_parameters():,} parameters; "
                  f"{epochs * len(loader)} steps")
    try:
        history = run.fit(loader, resume="auto" if resume else None)
    except KeyboardInterrupt:
        console.print(f"interrupted at step {run.step}: --resume --out {out} goes on")
        raise
    _finish(job, history, Path(out), console, as_json)


def _finish(job, history, out, console, as_json):
    """The model, averaged where averages were kept, goes to OUT/model."""
    network = job.network.to("cpu")
    save = (job.saved or network).save_pretrained
    if job.ema is None:
        save(out / "model")
    else:
        with job.ema.average_parameters():
            save(out / "model")
    if as_json:
        print(json.dumps({"history": history, "model": str(out / "model")}))
    console.print(f"{out / 'model'} holds the model: minidl generate image {out / 'model'}")


def _made(name, weights, settings, wanted):
    """A model with those fields of `wanted` that its config has, and those that were set."""
    own = find(name).make_config().to_dict()
    fields = {field: value for field, value in wanted.items() if field in own}
    return create_model(name, weights, **{**fields, **settings})


def _demand_settings(loss, function, *more):
    """Refuse settings of a loss that are none of the function's numbers and words, nor of these."""
    own = [name for name, p in signature(function).parameters.items() if isinstance(p.default, (int, float, str))]
    demand_known("train", "--loss", loss, [*own, *more])


def _grey(data, settings):
    """Channels of the images, unless they were set."""
    return settings.get("in_channels", 1 if str(data).startswith("fashion-mnist") else 3)


# -- each kind ---------------------------------------------------------------------------------

def _autoencoder(name, data, weights, settings, loss, lr, size, shared, device):
    size = size or settings.get("image_size", 28)
    dataset, channels = pictures(data, size), _grey(data, settings)
    network = _made(name, weights, settings, {"image_size": size, "in_channels": channels,
                                              "num_classes": len(dataset.classes)}).to(device)
    _demand_settings(loss, network.loss, *["labelled"] * isinstance(network, M2))
    transform = Picture(size, channels, 0.0, 1.0)
    labelled, count = None, loss.pop("labelled", 100)
    if isinstance(network, M2):
        network.labels = tuple(dataset.classes)
        labelled = labelled_part(dataset, transform, count, shared["seed"])
    stepper = optim.Adam(network.parameters(), lr or 1e-3)
    return Job(network, dataset, transform, lambda **options: BoundTrainer(network, stepper, labelled, loss, **options),
               lambda: network.sample(SHOWN, shared["seed"]))


def _gan(name, data, weights, settings, loss, lr, size, shared, device):
    """Generators of noise; those with styles by StyleGAN2's recipe, with gamma of 2006.06676, appendix C."""
    _demand_settings(loss, GAN, "augment")
    size = size or settings.get("image_size", 32 if name.startswith("stylegan") else 28)
    dataset, channels = pictures(data, size), _grey(data, settings)
    wanted = {"image_size": size, "in_channels": channels}
    network = _made(name, weights, settings, wanted).to(device)
    if network.num_classes and network.num_classes != len(dataset.classes):
        raise ArgumentError(message("train", "num_classes", f"{len(dataset.classes)}, as in the data, or 0",
                                    network.num_classes))
    styled = hasattr(network, "styles")
    usual = {"r1": 2e-4 * size ** 2 / shared["batch_size"], "path_length": 2.0} if styled else {}
    augment = loss.pop("augment", False)
    if not isinstance(augment, bool):
        raise ArgumentError(message("train", "--loss augment", "True or False", repr(augment)))
    game = GAN(network, augment=AdaptiveAugment() if augment else None, **{**usual, **loss}).to(device)
    rate, betas = (2e-3, (0.0, 0.99)) if styled else (2e-4, (0.5, 0.999))
    ema = optim.EMA(network)

    def draw():
        with ema.average_parameters():
            return network.sample(SHOWN, shared["seed"])

    def trainer(callbacks, **options):
        return AdversarialTrainer(game, _optimizers(game, lr or rate, betas), ema=ema,
                                  callbacks=[*callbacks, ModeCollapse()], **options)
    return Job(network, dataset, Picture(size, channels, mirror=True), trainer, draw, ema)


def _optimizers(game, lr, betas):
    return {turn: optim.Adam([p for module in game.learners(turn) for p in module.parameters()], lr, betas)
            for turn in game.turns}


def _pix2pix(name, data, weights, settings, loss, lr, size, shared, device):
    size = size or (32 if str(data).startswith("fashion-mnist") else 256)
    _demand_settings(loss, Pix2Pix)
    halvings = (size & -size).bit_length() - 1
    network = _translator(name, data, weights, settings, {"num_downs": min(8, halvings)})
    return _translation(network, Pix2Pix(network, **loss), pairs(data, size), size, lr, shared, device)


def _cyclegan(name, data, weights, settings, loss, lr, size, shared, device):
    size = size or (32 if str(data).startswith("fashion-mnist") else 256)
    _demand_settings(loss, CycleGAN)
    networks = [_translator(name, data, weights, settings, {"num_blocks": 6 if size < 256 else 9}) for _ in "ab"]
    dataset = pairs(data, size, False, shared["seed"])
    return _translation(networks[0], CycleGAN(*networks, **loss), dataset, size, lr, shared, device)


def _translator(name, data, weights, settings, wanted):
    channels = _grey(data, settings)
    return _made(name, weights, settings, {"in_channels": channels, "out_channels": channels, **wanted})


def _translation(network, game, dataset, size, lr, shared, device):
    game.to(device)
    transform = PicturePair(size, network.config.in_channels, mirror=True)
    shown = [PicturePair(size, network.config.in_channels)(dataset[i], None)[0] for i in range(min(SHOWN // 2,
                                                                                                  len(dataset)))]

    def draw():
        """Each image beside what becomes of it."""
        given = tensor(shown, device=device)
        training = network.training
        with no_grad():
            made = network.eval()(given)
        network.train(training)
        return concat([given, made], 1).reshape(-1, *made.shape[1:]) if given.shape == made.shape else made

    def trainer(**options):
        return AdversarialTrainer(game, _optimizers(game, lr or 2e-4, (0.5, 0.999)), **options)
    return Job(network, dataset, transform, trainer, draw)


def _diffusion(name, data, weights, settings, loss, lr, size, shared, device):
    """Velocities, cosine schedule; drawn in 25 steps of DDIM, of any class in turn."""
    _demand_settings(loss, DiffusionTrainer, "prediction")
    size = size or settings.get("sample_size", 28)
    dataset, channels = pictures(data, size), _grey(data, settings)
    classes = tuple(dataset.classes)
    network = _made(name, weights, settings, {"sample_size": size, "in_channels": channels, "out_channels": channels,
                                              "num_class_embeds": len(classes) + 1 if classes else None}).to(device)
    network.labels = classes
    told = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": loss.pop("prediction", "v_prediction")}
    pipe = DDPM(network, schedulers.create("ddim", timestep_spacing="trailing", **told))
    ema, stepper = optim.EMA(network), optim.Adam(network.parameters(), lr or 1e-3)

    def draw():
        with ema.average_parameters():
            return pipe.sample(SHOWN, shared["seed"])

    def trainer(**options):
        return DiffusionTrainer(network, stepper, schedulers.create("ddpm", **told), ema=ema, clip_norm=1.0, **loss,
                                **options)
    return Job(network, dataset, Picture(size, channels), trainer, draw, ema, pipe)
