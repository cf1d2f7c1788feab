"""What generators of images have in common: noise in, images out, the same for a seed however many are drawn."""
import math
from inspect import signature

from ... import nn, ops
from ...backend import random
from ...errors import ArgumentError, message, number
from ...tape import no_grad
from ..config import near
from ..model import Model


class Generator(Model):
    """A network that makes images (N, C, H, W) of latents (N, latent_size), and perhaps of classes.

    A subclass sets `pixel_range`, between which its pixels lie; may define `generate(latents, labels, **options)`; and,
    where it learns from a rival, `adversary()`, the discriminator that fits it.
    """

    pixel_range = (-1.0, 1.0)
    adversary = None

    @property
    def latent_size(self):
        """How many numbers an image is made of."""
        return self.config.latent_size

    @property
    def num_classes(self):
        """Of what it can be asked for; 0: it cannot."""
        return getattr(self.config, "num_classes", 0)

    def latents(self, count, seed=None, first=0):
        """Standard normal latents (count, latent_size), on the model's device.

        Args:
            count: how many.
            seed: latent i depends on the seed and on `first` + i alone; None: from the default generator.
            first: the number of the first latent.
        """
        like = next(self.parameters())
        made = {"dtype": like.dtype, "device": like.device}
        if seed is None:
            return ops.randn((count, self.latent_size), **made)
        keys = [random.fold_in(random.key(seed), first + i) for i in range(count)]
        return ops.stack([ops.randn((self.latent_size,), key=key, **made) for key in keys])

    def classes(self, count, label=None, first=0):
        """Labels (count) of images from number `first` on: all the same, or, with None, all classes in turn.

        None for a model that knows no classes.

        Raises:
            ArgumentError: there is no such class.
        """
        if label is not None and not 0 <= label < self.num_classes:
            expected = f"a class in [0, {self.num_classes})" if self.num_classes else "none: it knows no classes"
            raise ArgumentError(message("sample", "label", expected, label))
        if not self.num_classes:
            return None
        numbers = [(first + i) % self.num_classes if label is None else label for i in range(count)]
        return ops.tensor(numbers, device=next(self.parameters()).device)

    def generate(self, latents, labels=None):
        """latents (N, Z), labels (N) or None -> images (N, C, H, W)."""
        return self(latents)

    def sample(self, count=1, seed=0, label=None, first=0, **options):
        """Draw images, in evaluation mode.

        Args:
            count: how many.
            seed: image i depends on the seed and on `first` + i alone.
            label: of what class, an integer; None: any, in turn.
            first: the number of the first image.
            options: as `generate` takes them.

        Returns:
            (count, C, H, W), pixels in `pixel_range`.

        Raises:
            ArgumentError: there is no such class, nothing to choose from, or no such option.
        """
        number("sample", "count", count, 1, whole=True)
        return self.draw(self.latents(count, seed, first), self.classes(count, label, first), **options)

    def draw(self, latents, labels=None, **options):
        """`generate` in evaluation mode, without a record.

        Raises:
            ArgumentError: it has no such option.
        """
        known, training = [*signature(self.generate).parameters][2:], self.training
        for wrong in options.keys() - {*known}:
            raise ArgumentError(message(type(self).__name__, "options", ", ".join(known) or "none", repr(wrong),
                                        near(wrong, known)))
        self.eval()
        try:
            with no_grad():
                return self.generate(latents, labels, **options)
        finally:
            self.train(training)


def between(start, end, count):
    """Latents (count, Z) from one latent (Z) to another, over the sphere on which normal draws lie.

    Source: White 2016, "Sampling Generative Networks", arXiv:1609.04468, section 2.1.
    """
    unit = [x / ops.vector_norm(x) for x in (start, end)]
    angle = math.acos(max(-1.0, min(1.0, float(ops.sum(unit[0] * unit[1]).item()))))
    if math.sin(angle) < 1e-4:                         # (the same direction, or the opposite one: no arc, or many)
        return ops.stack([start + (end - start) * (i / max(count - 1, 1)) for i in range(count)])
    shares = [i * angle / max(count - 1, 1) for i in range(count)]
    return ops.stack([start * (math.sin(angle - a) / math.sin(angle)) + end * (math.sin(a) / math.sin(angle))
                      for a in shares])


def small_normal(model):
    """Draw all convolutions from N(0, 0.02), and what batch norms scale by from N(1, 0.02), as DCGAN began it.

    Source: Radford, Metz, Chintala 2015, arXiv:1511.06434, section 4; of norms: pytorch/examples, dcgan.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
