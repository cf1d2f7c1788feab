"""What every model of the zoo keeps, generated from the registry.

Counts and names against official checkpoints take no memory; gradients, independence of the batch, learning, and the
round trip run on `tiny()` configs.  Inputs come from a task's `EXAMPLES`, so that a new model is covered by being
registered.
"""
import gzip
import json
from pathlib import Path

import numpy as np

from .. import Tensor, ops, optim
from ..models import load_weights
from ..models.registry import find
from ..tape import no_grad


def check_official(directory, name):
    """A registered model has exactly the parameters, names and shapes of the official nets that it says it is.

    Args:
        directory: with official_params.json and official_keys.json.gz, as tests/parity.
        name: of the model.

    Raises:
        AssertionError: what differs.
    """
    entry = find(name)
    model = entry.skeleton()
    own = {n: t.shape for n, t in model.state_dict().items()}
    for net, layout in entry.official.items():
        counts, keys = official(directory)
        assert model.num_parameters() == counts[net]["params"], \
            f"{name}: {model.num_parameters()} parameters, {net} has {counts[net]['params']}"
        blanks = {key: np.broadcast_to(np.zeros((), np.int8), shape) for key, shape, _ in keys[net]}
        keymap = model.keymap(layout)
        found = keymap.read(blanks)
        missing, unexpected = model.compare_names(found)
        assert not missing and not unexpected, f"{name}, {net}: missing {missing[:5]}, unexpected {unexpected[:5]}"
        unfit = {n: (np.shape(found[n]), own[n]) for n in found if np.shape(found[n]) != own[n]}
        assert not unfit, f"{name}, {net}: {unfit}"
        back = keymap.write({n: np.broadcast_to(np.zeros((), np.int8), own[n]) for n in own if n in found})
        lost = {k: a.shape for k, a in blanks.items() if k not in back or back[k].shape != a.shape}
        assert not lost, f"{name}, {net}: not written {lost}"


_official: dict = {}


def official(directory):
    """(official_params.json, official_keys.json.gz) of a directory, read once."""
    directory = Path(directory)
    if directory not in _official:
        with gzip.open(directory / "official_keys.json.gz", "rt") as file:
            _official[directory] = json.loads((directory / "official_params.json").read_text()), json.load(file)
    return _official[directory]


def image_example(model, rng, batch=4):
    """Images of patches 8 pixels wide, so that there is something to segment."""
    size = getattr(model.config, "image_size", 64)
    patches = rng.standard_normal((batch, model.config.in_channels, size // 8, size // 8), np.float32)
    return Tensor(patches.repeat(8, 2).repeat(8, 3))


EXAMPLES = {"image-classification": image_example, "image-segmentation": image_example}


def tiny(entry, seed=0):
    """(the tiny model of an entry's class, an input for it)."""
    from ..backend.random import seed as set_seed
    set_seed(seed)
    model = entry.model(entry.model.config_class.tiny())
    return model, EXAMPLES[entry.task](model, np.random.default_rng(seed))


def check_gradients(entry):
    """Every parameter gets a gradient that is finite and not zero."""
    model, x = tiny(entry)
    out = model(x)
    weight = Tensor(np.random.default_rng(1).standard_normal(out.shape, np.float32))
    ops.sum(out * weight).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and np.isfinite(p.grad.numpy()).all(), name
        assert np.abs(p.grad.numpy()).max() > 0, f"{name}: its gradient is zero"


def check_batch(entry):
    """In evaluation an item's result does not depend on the others'."""
    model, x = tiny(entry)
    model.eval()
    with no_grad():
        together, alone = model(x).numpy(), np.concatenate([model(x[i:i + 1]).numpy() for i in range(len(x))])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * np.abs(together).max())


def check_folded(entry):
    """What evaluation folds gives the same numbers as what training records."""
    model, x = tiny(entry)
    for _ in range(2):
        model(x)                                       # (running statistics of their own)
    model.eval()
    with no_grad():
        folded = model(x).numpy()
    np.testing.assert_allclose(folded, model(x).numpy(), rtol=0, atol=2e-5 * np.abs(folded).max())


def check_learns(entry, steps=60):
    """A few steps on one batch lower the loss by a good part."""
    model, x = tiny(entry)
    labels = Tensor((x.numpy()[:, 0] > 0).astype(np.int64))                     # (of pixels)
    if entry.task == "image-classification":
        labels = Tensor(np.arange(len(x)) % model.config.num_classes)
    optimizer, losses = optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(steps):
        loss = ops.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}"


def check_round_trip(entry, directory):
    """What is saved is loaded with the same bits, in every layout that the model reads, and by `from_pretrained`."""
    from ..models import from_pretrained
    model, _ = tiny(entry)
    want = {n: t.numpy() for n, t in model.state_dict().items()}
    for layout in model.layouts:
        model.save_pretrained(directory / layout, layout)
        again = from_pretrained(directory / layout)
        other = type(model)(model.config)
        load_weights(other, directory / layout / "model.safetensors", layout=layout)
        for copy in again, other:
            got = copy.state_dict()
            assert got.keys() == want.keys() and all((got[n].numpy() == want[n]).all() for n in want), layout


CHECKS = {"gradients": check_gradients, "batch": check_batch, "folded": check_folded, "learns": check_learns}
