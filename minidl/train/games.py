"""Games: networks whose losses oppose each other, and take turns. AdversarialTrainer plays them.

    GAN(generator, discriminator)          from noise (and classes) to images
    Pix2Pix(generator, discriminator)      from images to images, by pairs
    CycleGAN(forth, back, ...)             from images to images and back, without pairs
"""
import numpy as np

from .. import nn, ops
from ..backend import random
from ..errors import ArgumentError, message, number
from ..tape import no_grad
from ..tensor import Tensor
from .penalties import lipschitz_penalty, path_lengths, r1_penalty


class Game(nn.Module):
    """Base. A subclass sets `turns`, {name: names of the modules that learn in it}, and defines `loss`."""

    turns: dict = {}
    every: dict = {}               # {turn: it is played at each so manyth step only}
    watched = None                 # the last batches of made and of real images

    def loss(self, turn, first, second, step):
        """The loss of a turn, on a batch of two parts, at a step counted from 0: ()."""
        raise NotImplementedError(message(type(self).__name__, "loss", "a method of this name", "none"))

    def learners(self, turn):
        """The modules that learn in a turn."""
        return [getattr(self, name) for name in self.turns[turn]]

    def spread(self):
        """(deviation of the last made batch, of the last real one) over the batch, a mean over pixels; or None."""
        if self.watched is None or min(len(x) for x in self.watched) < 2:
            return None
        return tuple(float(ops.mean(ops.std(x.detach(), 0)).item()) for x in self.watched)

    def extra_state(self):
        """What a resumed run needs besides parameters and buffers."""
        return {}

    def load_extra_state(self, saved):
        """Go on from there."""


class GAN(Game):
    """Noise becomes images that a discriminator cannot tell from real ones.

    Args:
        generator: a generative.Generator.
        discriminator: image (, labels) -> scores; None: the generator's own kind.
        kind: of loss, as ops.gan_discriminator_loss takes it.
        r1: gamma; half of it times `r1_penalty` is added to the discriminator's loss, 0: nothing. Taken at every
            `r1_every`-th step, and so many times.
        lipschitz: what `lipschitz_penalty` costs a discriminator, 10 with the Wasserstein kind as a rule.
        critic_steps: the generator learns at each so manyth step only, 5 with the Wasserstein kind as a rule.
        path_length: as r1, what a squared deviation of `path_lengths` from their running mean costs a generator that
            has styles; every `path_every`-th step.
        mixing: the share of images with styles from two latents, of such a generator.
        augment: an AdaptiveAugment that real and generated images pass; None: none.

    Source: Goodfellow et al. 2014, arXiv:1406.2661; lazy penalties: Karras et al. 2019, arXiv:1912.04958, appendix B.
    """

    turns = {"discriminator": ("discriminator",), "generator": ("generator",)}

    def __init__(self, generator, discriminator=None, kind="logistic", r1=0.0, r1_every=16, path_length=0.0,
                 path_every=4, mixing=0.9, augment=None, lipschitz=0.0, critic_steps=1):
        for name, value in (("r1", r1), ("path_length", path_length), ("lipschitz", lipschitz)):
            number("GAN", name, value, 0)
        for name, value in (("r1_every", r1_every), ("path_every", path_every), ("critic_steps", critic_steps)):
            number("GAN", name, value, 1, whole=True)
        number("GAN", "mixing", mixing, 0, 1)
        if discriminator is None and generator.adversary is None:
            expected = f"one, as {type(generator).__name__} has none of its own"
            raise ArgumentError(message("GAN", "discriminator", expected, "none"))
        self.generator, self.discriminator = generator, discriminator or generator.adversary()
        self.has_styles = hasattr(generator, "styles")
        if path_length and not self.has_styles:
            raise ArgumentError(message("GAN", "path_length", "0, as this generator has no styles", path_length))
        self.kind, self.r1, self.r1_every = kind, r1, r1_every
        self.path_length, self.path_every, self.mixing = path_length, path_every, mixing
        self.path_mean = nn.Buffer(ops.zeros(()))
        self.augment, self.lipschitz, self.every = augment, lipschitz, {"generator": critic_steps}

    def loss(self, turn, first, second, step):
        """Of images (N, C, H, W) and their labels (N)."""
        labels = (second,) if self.generator.num_classes else ()
        return (self._discriminator if turn == "discriminator" else self._generator)(first, labels, step)

    def _judged(self, image, *labels):
        image = image if self.augment is None else self.augment(image)
        return self.discriminator(image, *labels).reshape(-1)

    def _discriminator(self, real, labels, step):
        with no_grad():
            fake, _ = self._made(real.shape[0], labels)
        self.watched = fake, real
        scores = self._judged(real, *labels)
        if self.augment is not None:
            self.augment.observe(scores)
        loss = ops.gan_discriminator_loss(scores, self._judged(fake, *labels), self.kind)
        if self.r1 and step % self.r1_every == 0:
            loss = loss + r1_penalty(self._judged, real, *labels) * (0.5 * self.r1 * self.r1_every)
        if self.lipschitz:
            loss = loss + lipschitz_penalty(self._judged, real, fake, *labels) * self.lipschitz
        return loss

    def _generator(self, real, labels, step):
        fake, _ = self._made(real.shape[0], labels)
        loss = ops.gan_generator_loss(self._judged(fake, *labels), self.kind)
        if self.path_length and step % self.path_every == 0:
            half = max(real.shape[0] // 2, 1)
            loss = loss + self._stretching(half, [x[:half] for x in labels]) * (self.path_length * self.path_every)
        return loss

    def _made(self, count, labels):
        """(images, styles or None) of new latents."""
        latents = self.generator.latents(count)
        if not self.has_styles:
            return self.generator(latents, *labels), None
        styles = self.generator.styles(latents, *labels)
        chance, place = random.uniform(np, random.default().next_key(), (2,), 0.0, 1.0, "float64")
        if chance < self.mixing:
            layers = styles.shape[1]
            others = self.generator.styles(self.generator.latents(count), *labels)
            styles = self.generator.mixed(styles, others, 1 + int(place * (layers - 1)))
        return self.generator.synthesize(styles), styles

    def _stretching(self, count, labels):
        """How far path lengths are from their running mean. 1912.04958, eq. 4."""
        image, styles = self._made(count, labels)
        lengths = path_lengths(image, styles)
        with no_grad():
            self.path_mean.assign(self.path_mean + (ops.mean(lengths.detach()) - self.path_mean) * 0.01)
        return ops.mean(ops.square(lengths - self.path_mean.detach()))


class Pix2Pix(Game):
    """Images are translated; a discriminator sees what they were made from.

    Args:
        generator: image -> image.
        discriminator: (image, condition) -> scores; None: a PatchGAN.
        kind: of loss, as ops.gan_discriminator_loss takes it.
        l1: what a mean absolute difference costs.

    Source: Isola et al. 2016, arXiv:1611.07004, eq. 4 and section 3.3.
    """

    turns = {"generator": ("generator",), "discriminator": ("discriminator",)}

    def __init__(self, generator, discriminator=None, kind="logistic", l1=100.0):
        number("Pix2Pix", "l1", l1, 0)
        self.generator, self.discriminator = generator, discriminator or generator.adversary()
        self.kind, self.l1 = kind, l1

    def loss(self, turn, first, second, step):
        """Of images (N, C, H, W), and what shall be made of them (N, K, H, W)."""
        if turn == "discriminator":
            fake, _ = self.watched
            scores = self.discriminator(second, first), self.discriminator(fake, first)
            return ops.gan_discriminator_loss(*scores, self.kind) * 0.5
        fake = self.generator(first)
        self.watched = fake.detach(), second
        loss = ops.gan_generator_loss(self.discriminator(fake, first), self.kind)
        return loss + ops.l1_loss(fake, second) * self.l1


class CycleGAN(Game):
    """Images of two kinds are translated into each other, and what comes back shall be what went.

    Args:
        forth, back: from the first kind to the second, and from the second to the first.
        first_judge, second_judge: image -> scores, of images of each kind; None: PatchGANs.
        kind: of loss, as ops.gan_discriminator_loss takes it.
        cycle: what a mean absolute difference costs after going and coming back.
        identity: what one costs, as a share of that, where an image is of the kind wanted already.
        pool: how many made images the discriminators remember.

    Source: Zhu et al. 2017, arXiv:1703.10593, eq. 3, sections 4 and 5.2.
    """

    turns = {"generators": ("forth", "back"), "discriminators": ("first_judge", "second_judge")}

    def __init__(self, forth, back, first_judge=None, second_judge=None, kind="least_squares", cycle=10.0, identity=0.5,
                 pool=50):
        number("CycleGAN", "cycle", cycle, 0)
        number("CycleGAN", "identity", identity, 0)
        self.forth, self.back = forth, back
        self.first_judge, self.second_judge = first_judge or back.adversary(), second_judge or forth.adversary()
        self.kind, self.cycle, self.identity = kind, cycle, identity
        self.pools = ImagePool(pool), ImagePool(pool)

    def loss(self, turn, first, second, step):
        """Of images of the first kind (N, C, H, W), and of the second (M, K, H, W), that do not belong together."""
        return self._generators(first, second) if turn == "generators" else self._discriminators(first, second)

    def _generators(self, first, second):
        to_second, to_first = self.forth(first), self.back(second)
        self.made = to_first.detach(), to_second.detach()
        scores = self.first_judge(to_first), self.second_judge(to_second)
        adversarial = sum(ops.gan_generator_loss(s, self.kind) for s in scores)
        adversarial = adversarial * 2.0 if self.kind == "least_squares" else adversarial     # (the op halves squares)
        loss = adversarial + self.cycle * (ops.l1_loss(self.back(to_second), first)
                                           + ops.l1_loss(self.forth(to_first), second))
        if self.identity:
            same = ops.l1_loss(self.back(first), first) + ops.l1_loss(self.forth(second), second)
            loss = loss + same * (self.cycle * self.identity)
        return loss

    def _discriminators(self, first, second):
        loss = 0.0
        for judge, real, made, pool in zip(self.learners("discriminators"), (first, second), self.made, self.pools):
            loss = loss + ops.gan_discriminator_loss(judge(real), judge(pool(made)), self.kind)
        return loss if self.kind == "least_squares" else loss * 0.5

    def extra_state(self):
        """The images of both pools."""
        return {"pools": [pool.state_dict() for pool in self.pools]}

    def load_extra_state(self, saved):
        """Go on from there."""
        for pool, state in zip(self.pools, saved["pools"]):
            pool.load_state_dict(state)


class ImagePool:
    """Remembers made images: half of those that come are kept, and an older one is given for each.

    Args:
        size: how many; 0: none, what comes is given.

    Source: Shrivastava et al. 2016, arXiv:1612.07828, section 2.3.
    """

    def __init__(self, size=50):
        number("ImagePool", "size", size, 0, whole=True)
        self.size, self.images = size, []

    def __call__(self, images):
        """images (N, C, H, W) -> (N, C, H, W), some of them older ones; no gradient passes."""
        images = images.detach()
        if not self.size:
            return images
        chances = random.uniform(np, random.default().next_key(), (2, images.shape[0]), 0.0, 1.0, "float64")
        given = []
        for image, chance, place in zip(images, *chances):
            if len(self.images) < self.size:
                self.images.append(image)
            elif chance < 0.5:
                i = int(place * self.size)
                image, self.images[i] = self.images[i].to(image.device), image         # (a resumed run's: on the host)
            given.append(image)
        return ops.stack(given)

    def state_dict(self):
        """The images that are remembered."""
        return {"images": [image.numpy() for image in self.images]}

    def load_state_dict(self, saved):
        """Go on from there."""
        self.images = [Tensor(image) for image in saved["images"]]
