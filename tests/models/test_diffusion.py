"""Diffusion's networks: names in one file, odd sizes, masks, memory; what they refuse."""
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from minidl import Tensor, io, no_grad
from minidl.backend.random import seed
from minidl.errors import ArgumentError, CheckpointError, ShapeError
from minidl.models.diffusion import single_file
from minidl.models.diffusion.autoencoder import AutoencoderConfig, AutoencoderKL
from minidl.models.diffusion.unclip import PriorConfig, PriorTransformer
from minidl.models.diffusion.unet import UNet2DConditionConfig, UNet2DConditionModel, UNet2DConfig, UNet2DModel
from minidl.models.registry import find
from minidl.models.text.clip import CLIPConfig, CLIPTextConfig, CLIPTextModel
from minidl.testing.modelcheck import official

PARITY = Path(__file__).parents[1] / "parity"
SD = {"unet": "stable-diffusion-1.5.unet", "vae": "stable-diffusion-1.5.vae"}
RNG = np.random.default_rng(0)


def small_parts():
    """Small networks of Stable Diffusion's kinds."""
    unet = UNet2DConditionConfig(8, block_out_channels=(8, 16), down_block_types=("CrossAttnDownBlock2D",
                                 "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                                 layers_per_block=1, attention_head_dim=2, cross_attention_dim=8, norm_num_groups=4)
    return {"unet": UNet2DConditionModel(unet), "vae": AutoencoderKL(AutoencoderConfig.tiny()),
            "text_encoder": CLIPTextModel(CLIPTextConfig.tiny())}


@pytest.mark.parametrize("part", SD)
def test_every_name_of_the_published_file_is_its_twins(part):
    """Each of the single file's names and its twin in diffusers' layout lead to the same tensor of ours."""
    with gzip.open(PARITY / "sd15_single_file_keys.json.gz", "rt") as file:
        twins = json.load(file)[part]
    _, keys = official(PARITY)
    shapes = {key: shape for key, shape, _ in keys[f"sd15/{part}"]}
    assert len(twins) == len(shapes)
    model, prefix = find(SD[part]).skeleton(), single_file.PREFIXES[part]
    marks = {theirs: np.broadcast_to(np.int8(i % 127), shapes[ours]) for i, (theirs, ours) in enumerate(twins.items())}
    ours = {ours: marks[theirs] for theirs, ours in twins.items()}
    for name in [n for n in marks if "attn_1" in n and marks[n].ndim == 2]:           # (there, a convolution)
        marks[name] = marks[name][:, :, None, None]
    a = model.keymap("compvis").read({name.removeprefix(prefix): x for name, x in marks.items()})
    b = model.keymap("diffusers").read(ours)
    own = {n: t.shape for n, t in model.state_dict().items()}
    assert set(a) == set(b) == set(own)
    for name in own:
        x, y = a[name], b[name]
        assert x.shape == y.shape == own[name], name
        assert (x.reshape(len(x), -1)[:, 0] == y.reshape(len(y), -1)[:, 0]).all(), name
    back = model.keymap("compvis").write({n: np.broadcast_to(np.int8(0), s) for n, s in own.items()})
    assert {prefix + n for n in back} == set(twins)


def test_one_file_round_trip(tmp_path):
    parts, path = small_parts(), tmp_path / "small.safetensors"
    single_file.save_single_file(parts, path)
    again = single_file.load_single_file(path, {name: model.config for name, model in parts.items()})
    for name, model in parts.items():
        for key, tensor in again[name].state_dict().items():
            assert (tensor.numpy() == model.state_dict()[key].numpy()).all()
    stored = io.load(path)
    assert stored["first_stage_model.decoder.mid.attn_1.q.weight"].shape == (8, 8, 1, 1)
    stored = {name: x for name, x in stored.items() if not name.startswith("first_stage_model.")}
    io.save(stored, path)
    with pytest.raises(CheckpointError, match="none below first_stage_model"):
        single_file.load_single_file(path)


def test_old_configs_of_clip_tell_their_sizes_elsewhere():
    told = CLIPConfig.tiny().to_hf()
    older = {**told, "text_config_dict": told["text_config"], "text_config": None, "vision_config_dict": None}
    assert CLIPConfig.from_hf(older) == CLIPConfig.from_hf(told) == CLIPConfig.tiny()


def test_sizes_that_are_not_even():
    seed(0)
    model = UNet2DModel(UNet2DConfig(7, 1, 1, (8, 8), ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D",
                        "UpBlock2D"), layers_per_block=1, attention_head_dim=4, norm_num_groups=2))
    assert model(Tensor(RNG.standard_normal((1, 1, 7, 9), np.float32)), 3).shape == (1, 1, 7, 9)


def test_what_a_mask_hides_does_not_count():
    seed(0)
    model = UNet2DConditionModel(UNet2DConditionConfig.tiny()).eval()
    given = {"sample": (2, 3, 8, 8), "encoder_hidden_states": (2, 5, 6), "class_labels": (2, 32)}
    given = {name: RNG.standard_normal(shape, np.float32) for name, shape in given.items()}
    mask = Tensor(np.array([[True] * 3 + [False] * 2] * 2))
    results = []
    for _ in range(2):
        with no_grad():
            results.append(model(timestep=7, attention_mask=mask, **{n: Tensor(x) for n, x in given.items()}).numpy())
        given["encoder_hidden_states"][:, 3:] += 1
    assert (results[0] == results[1]).all()


@pytest.mark.parametrize("act, error, text", [
    (lambda: UNet2DConditionConfig.from_hf({"addition_embed_type": "text"}), ArgumentError, "addition_embed_type"),
    (lambda: UNet2DConditionConfig(down_block_types=("X",) * 4), ArgumentError, "down_block_types"),
    (lambda: UNet2DConditionConfig(block_out_channels=(8, 8)), ArgumentError, "as many of each"),
    (lambda: UNet2DConditionConfig.from_hf({"layers_per_block": [1, 2, 2, 2]}), ArgumentError, "layers_per_block"),
    (lambda: UNet2DConditionConfig.from_hf({"attention_head_dim": [8, 8]}), ArgumentError, "one a stage"),
    (lambda: UNet2DConditionConfig.from_hf({"sample_size": [64, 64]}), ArgumentError, "sample_size"),
    (lambda: AutoencoderConfig.from_hf({"shift_factor": 0.1}), ArgumentError, "no shift_factor.* got shift_factor=0.1"),
    (lambda: PriorConfig.from_hf({"added_emb_type": None, "norm_in_type": "layer"}), ArgumentError, "norm_in_type"),
    (lambda: AutoencoderKL(AutoencoderConfig.tiny()).encode(Tensor(np.zeros((1, 3, 9, 8), "f4"))), ShapeError,
     "multiples of 2"),
    (lambda: small_parts()["unet"](Tensor(np.zeros((1, 4, 8, 8), "f4")), 1, None), ShapeError, "encoder_hidden_states"),
    (lambda: small_parts()["unet"](Tensor(np.zeros((1, 3, 8, 8), "f4")), 1, Tensor(np.zeros((1, 2, 8), "f4"))),
     ShapeError, "sample"),
    (lambda: UNet2DModel(UNet2DConfig.tiny())(Tensor(np.zeros((1, 3, 8, 8), "f4")), 1), ArgumentError, "class_labels"),
    (lambda: UNet2DModel(UNet2DConfig.tiny())(Tensor(np.zeros((2, 3, 8, 8), "f4")), np.arange(3)), ShapeError,
     r"timestep: expected a number, or \(2,\)"),
    (lambda: PriorTransformer(PriorConfig.tiny())(*[Tensor(np.zeros(s, "f4")) for s in ((1, 6), (1,), (1, 6), (1, 4, 6)
                                                                                       )]), ShapeError, "5, 6"),
    (lambda: small_parts()["text_encoder"](Tensor(np.ones(5, "i8"))), ShapeError, r"\(N, T\)"),
    (lambda: small_parts()["text_encoder"](Tensor(np.ones((1, 13), "i8"))), ShapeError, "at most 12")])
def test_errors_say_what_to_do(act, error, text):
    with pytest.raises(error, match=text):
        act()
