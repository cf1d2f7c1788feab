"""Whole training steps: forward, loss, backward, optimizer. The losses of the first steps must agree."""
import numpy as np

from . import networks
from .rows import Group, Row


def _supervised(optimizer, **settings):
    """Prepare a step that fits `module(*inputs)` to the last input, labels."""
    def prepare(lib, module, arrays):
        *inputs, labels = [lib.tensor(a) for a in arrays]
        rule = getattr(lib.optim, optimizer)(module.parameters(), **settings)

        def step():
            rule.zero_grad()
            loss = lib.F.cross_entropy(module(*inputs), labels)
            loss.backward()
            rule.step()
            return loss
        return step
    return prepare


def _adversarial(lib, module, arrays):
    """Prepare a step of the discriminator and one of the generator."""
    images, noise, real, fake = [lib.tensor(a) for a in arrays]
    generator, discriminator, loss = module.generator, module.discriminator, lib.F.binary_cross_entropy_with_logits
    rules = [lib.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999)) for part in (discriminator, generator)]

    def step():
        rules[0].zero_grad()
        made = generator(noise)
        judged = loss(discriminator(images), real) + loss(discriminator(made.detach()), fake)
        judged.backward()
        rules[0].step()
        rules[1].zero_grad()
        fooled = loss(discriminator(made), real)
        fooled.backward()
        rules[1].step()
        return judged, fooled
    return step


def _images(batch, size, classes, *label_shape):
    return lambda rng: [rng.standard_normal((batch, 3, size, size), dtype="f4"),
                        rng.integers(classes, size=(batch, *label_shape))]


def _characters(batch, length, words=65, positions=False):
    def inputs(rng):
        text = rng.integers(words, size=(batch, length + 1))
        places = [np.arange(length)] if positions else []
        return [np.ascontiguousarray(text[:, :-1]), *places, text[:, 1:].reshape(-1)]
    return inputs


def _adversaries(rng, batch=64):
    return [rng.standard_normal((batch, 3, 64, 64), dtype="f4"), rng.standard_normal((batch, 100, 1, 1), dtype="f4"),
            np.ones((batch, 1), "f4"), np.zeros((batch, 1), "f4")]


def _row(name, inputs, prepare, module):
    return Row(name, "step", inputs, prepare, module, taped=True, calls=2, tolerance=1e-3, memory=True)


GROUP = Group("train", "Training steps", [
    _row("ResNet-18 32x32 B64", _images(64, 32, 10), _supervised("SGD", lr=0.01, momentum=0.9, weight_decay=5e-4),
         lambda lib: networks.resnet18(lib.nn)),
    _row("GPT 6x384 B12 T256", _characters(12, 256, positions=True), _supervised("AdamW", lr=1e-4),
         lambda lib: networks.gpt(lib.nn, lib.F)),
    _row("char-LSTM B64 T128 h512", _characters(64, 128), _supervised("Adam", lr=1e-3),
         lambda lib: networks.char_lstm(lib.nn)),
    _row("U-Net 128x128 B4", _images(4, 128, 2, 128, 128), _supervised("Adam", lr=1e-4),
         lambda lib: networks.unet(lib.nn, lib.concat)),
    _row("DCGAN 64x64 B64", _adversaries, _adversarial, lambda lib: networks.dcgan(lib.nn))], 1.5)
