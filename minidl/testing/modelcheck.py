"""What every model of the zoo keeps, generated from the registry.

Counts and names against official checkpoints take no memory; gradients, independence of the batch, learning, and the
round trip run on `tiny()` configs of every class.  Inputs come from `EXAMPLES`, by the name of a model's first
argument, so that a new model is covered by being there.
"""
import gzip
import inspect
import json
from pathlib import Path

import numpy as np

from .. import Tensor, ops, optim
from ..models import load_weights
from ..models.detection.detector import Detector
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
        counted = {model.num_parameters(trainable) for trainable in (False, True)}     # (fixed tables may be buffers)
        assert counts[net]["params"] in counted, f"{name}: {counted} parameters, {net} has {counts[net]['params']}"
        blanks = {key: np.broadcast_to(np.zeros((), np.int8), shape) for key, shape, _ in keys[net]}
        keymap = model.keymap(layout)
        found = keymap.read(blanks)
        missing, unexpected = model.compare_names(found)
        assert not missing and not unexpected, f"{name}, {net}: missing {missing[:5]}, unexpected {unexpected[:5]}"
        unfit = {n: (np.shape(found[n]), own[n]) for n in found if np.shape(found[n]) != own[n]}
        assert not unfit, f"{name}, {net}: {unfit}"
        back = keymap.write({n: np.broadcast_to(np.zeros((), np.int8), own[n]) for n in own if n in found})
        lost = {k: a.shape for k, a in blanks.items() if k not in back or back[k].shape != a.shape}
        assert not lost and not set(back) - set(blanks), f"{name}, {net}: not written {lost}, written {[*back][:3]} ..."


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
    return {"image": Tensor(patches.repeat(8, 2).repeat(8, 3)), **label_example(model, rng, batch)}


def label_example(model, rng, batch):
    """Classes, for a model that is told of them."""
    count = getattr(model.config, "num_classes", 0)
    if not count or "labels" not in inspect.signature(model.forward).parameters:
        return {}
    return {"labels": Tensor(rng.integers(0, count, batch))}


def text_example(model, rng, batch=4, length=9):
    """Tokens, the last two of the second sequence masked; for an encoder-decoder also what it wrote."""
    c = model.config
    tokens = rng.integers(3, c.vocab_size - 2, (batch, length))
    tokens[:, -1] = getattr(c, "eos_token_id", 2) or 2
    mask = np.ones_like(tokens)
    mask[1, -2:] = 0
    given = {"input_ids": Tensor(tokens), "attention_mask": Tensor(mask)}
    takes = inspect.signature(model.forward).parameters
    if "pixel_values" in takes:
        given |= pixel_example(model, rng, batch)
    if "decoder_input_ids" in takes:
        given["decoder_input_ids"] = Tensor(rng.integers(3, c.vocab_size - 2, (batch, length - 2)))
    if "MultipleChoice" in type(model).__name__:
        given = {name: ops.stack([x, x[::-1]], 1) for name, x in given.items()}
    return given


def pixel_example(model, rng, batch=4):
    """Images of the size that a tower of vision takes."""
    c = getattr(model.config, "vision_config", model.config)
    shape = batch, c.num_channels, c.image_size, c.image_size
    return {"pixel_values": Tensor(rng.standard_normal(shape, np.float32))}


def speech_example(model, rng, batch=4):
    """Spectrograms, and tokens that were written."""
    c = model.config
    mel = rng.standard_normal((batch, c.num_mel_bins, 2 * c.max_source_positions), np.float32)
    return {"input_features": Tensor(mel), "decoder_input_ids": Tensor(rng.integers(3, c.vocab_size, (batch, 7)))}


def wave_example(model, rng, batch=4):
    """Waves, some steps masked."""
    waves = rng.standard_normal((batch, 170), np.float32)
    steps = getattr(model, "encoder", model).lengths(waves.shape[1])
    return {"input_values": Tensor(waves), "mask_time_indices": Tensor(rng.random((batch, steps)) < 0.3)}


def series_example(model, rng, batch=4):
    """Series, their future, and features."""
    c = model.config
    past, future, features = c.past_length, c.prediction_length, c.num_time_features
    shapes = {"past_values": (past,), "past_time_features": (past, features), "future_values": (future,),
              "future_time_features": (future, features)}
    given = {name: Tensor(rng.standard_normal((batch, *shape), np.float32)) for name, shape in shapes.items()}
    return {**given, "static_categorical_features": Tensor(rng.integers(0, c.cardinality[0], (batch, 1)))}


def sequence_example(model, rng, batch=4):
    """Sequences (N, C, T), or of tokens (N, T), of several lengths."""
    c, lengths = model.config, Tensor(np.arange(17, 17 - batch, -1))
    x = rng.integers(0, c.vocab_size, (batch, 17)) if getattr(c, "vocab_size", 0) else (
        rng.standard_normal((batch, c.in_channels, 17), np.float32))
    return {"x": Tensor(x), "lengths": lengths}


def token_example(model, rng, batch=4):
    """Tokens (T, N)."""
    return {"tokens": Tensor(rng.integers(0, model.config.vocab_size, (9, batch)))}


def detection_example(model, rng, batch=4):
    """Images of gray noise with a bright square each, the last without, and where they are."""
    c, size, lowest = model.config, 64, model.first_label
    images = 0.1 * rng.random((batch, c.in_channels, size, size), np.float32)
    targets = []
    for i, image in enumerate(images):
        x, y, side = rng.integers(4, 30, 3)
        boxes = np.array([[x, y, x + side, y + side]] if i < batch - 1 else np.zeros((0, 4)), np.float32)
        masks = np.zeros((len(boxes), size, size), bool)
        masks[:, y:y + side, x:x + side] = True
        image[:, masks.any(0)] += 0.8
        targets.append({"boxes": boxes, "masks": masks,
                        "labels": np.full(len(boxes), lowest + i % (c.num_classes - lowest))})
    return {"images": Tensor(images), "targets": targets}


def recording_example(model, rng, batch=4):
    """Waves (N, S), the last frame of each not full."""
    return {"wave": Tensor(rng.standard_normal((batch, 3 * model.config.frame - 5), np.float32))}


def spectrum_example(model, rng, batch=4):
    """Energies (N, T, M)."""
    return {"mel": Tensor(rng.random((batch, 9, model.config.n_mels), np.float32))}


def spelling_example(model, rng, batch=4):
    """Letters of words, and phonemes, the first the one that begins them."""
    c = model.config
    letters, phonemes = rng.integers(3, c.letters, (batch, 7)), rng.integers(4, c.phonemes, (batch, 6))
    return {"letters": Tensor(letters), "phonemes": Tensor(phonemes), "lengths": Tensor(np.arange(7, 7 - batch, -1))}


def latent_example(model, rng, batch=4):
    """Latents (N, Z)."""
    latent = rng.standard_normal((batch, model.latent_size), np.float32)
    return {"latent": Tensor(latent), **label_example(model, rng, batch)}


def denoising_example(model, rng, batch=4):
    """Noisy samples, how noisy they are, and what is drawn."""
    c, takes = model.config, inspect.signature(model.forward).parameters
    shapes = {"sample": (c.in_channels, c.sample_size, c.sample_size)}
    if "encoder_hidden_states" in takes:
        shapes |= {"encoder_hidden_states": (5, c.cross_attention_dim), "class_labels": (c.time_width,)}
    given = {name: Tensor(rng.standard_normal((batch, *shape), np.float32)) for name, shape in shapes.items()}
    if "timestep" in takes:
        given["timestep"] = Tensor(rng.integers(0, 1000, batch))
    if "class_labels" in takes.keys() - given:
        given["class_labels"] = Tensor(rng.integers(0, c.num_class_embeds, batch))
    return given


def prior_example(model, rng, batch=4):
    """Vectors of images with noise, how noisy they are, and texts."""
    c = model.config
    shapes = {"hidden_states": (c.embedding_dim,), "proj_embedding": (c.embedding_dim,),
              "encoder_hidden_states": (c.num_embeddings, c.embedding_dim)}
    given = {name: Tensor(rng.standard_normal((batch, *shape), np.float32)) for name, shape in shapes.items()}
    return {**given, "timestep": Tensor(rng.integers(0, 1000, batch))}


def projection_example(model, rng, batch=4):
    """Vectors of images and texts, and states of these."""
    width = model.config.clip_embeddings_dim
    shapes = {"image_embeddings": (width,), "prompt_embeds": (width,), "text_encoder_hidden_states": (5, width)}
    given = {name: Tensor(rng.standard_normal((batch, *shape), np.float32)) for name, shape in shapes.items()}
    return {**given, "dropped": Tensor(np.arange(batch) % 2 == 0)}


EXAMPLES = {"hidden_states": prior_example, "image_embeddings": projection_example, "sample": denoising_example,
            "image": image_example, "images": detection_example, "latent": latent_example, "input_ids": text_example,
            "input_features": speech_example, "input_values": wave_example, "past_values": series_example,
            "x": sequence_example, "tokens": token_example, "wave": recording_example, "mel": spectrum_example,
            "letters": spelling_example, "pixel_values": pixel_example}


def results(model, example, alone=False):
    """What a model gives that has gradients, classes last: logits of classes, or features; its loss; or boxes.

    alone: without what holds items against each other.
    """
    if isinstance(model, Detector) and not model.training:         # (which boxes are kept may hang on the last bit)
        images = example["images"]
        return [*model.decode(model.forward_raw(images), images.shape[2:])]
    output = model(**example)
    if type(output) is dict:                           # (losses)
        return [sum(output.values())]
    if isinstance(output, list):                       # (detections)
        return [ops.concat([found[name] for found in output]) for name in output[0] if name != "labels"]
    if isinstance(output, Tensor):                     # (classes of pixels stand behind the batch)
        return [ops.permute_dims(output, (0, *range(2, output.ndim), 1)) if output.ndim == 4 else output]
    left_out = ("loss", "encoder_last_hidden_state", *model.compares * alone)
    found = [output[name] for name in output.keys() if name not in left_out]
    found = [x for part in found for x in (part if isinstance(part, tuple) else (part,)) if isinstance(x, Tensor)]
    return sorted(found, key=lambda x: -x.ndim)        # (what a decoder gives has seen the encoder's states)


def tiny(model_class, task, seed=0):
    """(the tiny model of a class, an example for it)."""
    from ..backend.random import seed as set_seed
    set_seed(seed)
    model = model_class(model_class.config_class.tiny())
    first = next(iter(inspect.signature(model.forward).parameters))
    return model, EXAMPLES[first](model, np.random.default_rng(seed))


def check_gradients(model_class, task):
    """Every parameter that learns gets a gradient that is finite and not zero."""
    model, example = tiny(model_class, task)
    rng = np.random.default_rng(1)
    found = model.forward_raw(example["images"]) if isinstance(model, Detector) else results(model, example)
    loss = sum(ops.sum(r * Tensor(rng.standard_normal(r.shape, np.float32))) for r in found)
    loss.backward()
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert p.grad is not None and np.isfinite(p.grad.numpy()).all(), name
            assert np.abs(p.grad.numpy()).max() > 0, f"{name}: its gradient is zero"


def check_batch(model_class, task):
    """In evaluation an item's result does not depend on the others'."""
    model, example = tiny(model_class, task)
    model.eval()
    axis = model.batch_axis
    count = next(iter(example.values())).shape[axis]
    with no_grad():
        together = results(model, example, True)
        ones = [results(model, {name: _item(x, i, axis) for name, x in example.items()}, True) for i in range(count)]
    for k, whole in enumerate(together):
        alone = np.concatenate([one[k].numpy() for one in ones], axis)
        np.testing.assert_allclose(whole.numpy(), alone, rtol=0, atol=1e-5 * np.abs(alone).max())


def _item(value, i, axis):
    """One item of a batch, as a batch of one."""
    if isinstance(value, Tensor):
        return ops.take(value, Tensor([i]), axis)
    return value[i:i + 1] if isinstance(value, list) else value


def check_evaluation(model_class, task):
    """What evaluation folds and fuses gives the same numbers as what is recorded."""
    model, example = tiny(model_class, task)
    for _ in range(2):
        model(**example)                               # (running statistics of their own)
    model.eval()
    with no_grad():
        quick = results(model, example)
    for a, b in zip(quick, results(model, example)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=2e-5 * np.abs(b.numpy()).max())


def goal(first, given, task):
    """A loss of a model's first output: its own, where that is what it gives; of classes, told or drawn; of what makes
    images, how far it is from pictures or scores that are wanted. None: there is no such loss."""
    rng, given = np.random.default_rng(2), given.numpy()
    if not first.ndim:
        return lambda loss: loss
    if "generation" in task:
        own = np.moveaxis(given, 1, -1) if given.ndim == 4 else given
        wanted = np.tanh(own) if own.shape == first.shape else np.broadcast_to(
            rng.choice([-0.8, 0.8], (len(given), *[1] * (first.ndim - 1))), first.shape)
        return lambda output: ops.mse_loss(output, Tensor(wanted.astype(np.float32)))
    if first.shape[-1] == 1 or first.ndim < 2:
        return None
    labels = rng.integers(0, first.shape[-1], first.shape[:-1])
    if given.ndim == 4 and first.ndim == 4:            # (pixels)
        labels = (given[:, 0] > 0).astype(np.int64)
    elif given.dtype.kind == "i" and first.shape[:-1] == given.shape:
        labels = given % first.shape[-1]
    labels = Tensor(labels.reshape(-1))
    return lambda output: ops.cross_entropy(output.reshape((-1, output.shape[-1])), labels)


def check_learns(model_class, task, steps=60):
    """A few steps on one batch lower the loss by a good part: each output learns what its input tells."""
    model, example = tiny(model_class, task)
    loss, losses = goal(results(model, example)[0], next(iter(example.values())), task), []
    if loss is None:
        return
    optimizer = optim.AdamW(model.parameters(), lr=3e-3 if "image" in task else 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        found = loss(results(model, example)[0])
        found.backward()
        optimizer.step()
        losses.append(found.item())
    first = max(losses) if isinstance(model, Detector) else losses[0]        # (what is asked of a good box grows)
    assert losses[-1] < 0.7 * first, f"the loss went from {first:.3f} to {losses[-1]:.3f}"


def check_round_trip(model_class, task, directory):
    """What is saved is loaded with the same bits, in every layout that the model reads, and by `from_pretrained`."""
    from ..models import from_pretrained
    model, _ = tiny(model_class, task)
    want = {n: t.numpy() for n, t in model.state_dict().items()}
    for layout in model.layouts:
        model.save_pretrained(directory / layout, layout)
        again = from_pretrained(directory / layout)
        other = type(model)(model.config)
        load_weights(other, directory / layout / "model.safetensors", layout=layout)
        for copy in again, other:
            got = copy.state_dict()
            assert got.keys() == want.keys() and all((got[n].numpy() == want[n]).all() for n in want), layout


CHECKS = {"gradients": check_gradients, "batch": check_batch, "evaluation": check_evaluation, "learns": check_learns}
