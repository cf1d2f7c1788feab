"""Pipelines that draw, beside diffusers'; folders in its layout; seeds, slices, tiles; what they refuse.

diffusers.npz holds what diffusers 0.42.1 (Apache-2.0) draws with these networks, whose weights, noise and images are
drawn by a rule from their names.
"""
import json
import math
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from minidl import Tensor, optim
from minidl.backend import random
from minidl.backend.random import seed
from minidl.cli import app
from minidl.data.folder import read_image
from minidl.data.image import write_image
from minidl.errors import ArgumentError, CheckpointError
from minidl.models import load_weights
from minidl.models.diffusion import schedulers
from minidl.models.diffusion.autoencoder import AutoencoderConfig, AutoencoderKL
from minidl.models.diffusion.objective import diffusion_loss, weights
from minidl.models.diffusion.sampling import sample_images
from minidl.models.diffusion.single_file import save_single_file
from minidl.models.diffusion.tiling import tiled
from minidl.models.diffusion.unclip import PriorConfig, PriorTransformer, TextProjConfig, UnCLIPTextProjModel
from minidl.models.diffusion.unet import UNet2DConditionConfig, UNet2DConditionModel, UNet2DConfig, UNet2DModel
from minidl.models.text import clip
from minidl.models.weights import official_state
from minidl.pipelines import DDPM, StableDiffusion, UnCLIP, UnCLIPVariations, image_pipeline
from minidl.text import load_tokenizer
from minidl.train import DiffusionTrainer

WANT = dict(np.load(Path(__file__).parent / "diffusers.npz"))
PROMPTS = ["the red cat", "dog of cat"]
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
MERGES = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>"), ("t", "h"), ("th", "e</w>"), ("o", "f</w>"),
          ("r", "e"), ("re", "d</w>")]


def draw(name, shape):
    raw = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(math.prod(shape))
    return ((2 * ((raw >> np.uint64(11)) * 2.0 ** -53) - 1) * math.sqrt(3)).reshape(shape).astype("f4")


def filled(name, model):
    """The model with weights drawn by their official names."""
    state = {}
    for key, array in official_state(model).items():
        short = key.removeprefix("text_model.").removeprefix("vision_model.")
        x, words = draw(f"{name}.{short}", array.shape), short.split(".")
        if array.ndim > 1 and len(words) > 1 and "embedding" not in words[-2]:
            x = x * np.float32(array[0].size ** -0.5)
        else:
            x = x * np.float32(0.1) + float("norm" in short and short.endswith("weight") or short == "clip_std")
        state[key] = x.astype("f4")
    load_weights(model, state)
    return model.eval()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """CLIP's, with few words; from its older files."""
    folder = tmp_path_factory.mktemp("tokenizer")
    known = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [*map(chr, known), *(chr(256 + i) for i in range(256 - len(known)))]
    words = [*letters, *(a + "</w>" for a in letters), *(a + b for a, b in MERGES), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, MERGES)) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return load_tokenizer(folder)


def text_config(tokenizer, width):
    n = len(tokenizer)
    return clip.CLIPTextConfig(n, width, 32, 12, 2, 2, 20, bos_token_id=n - 2, eos_token_id=n - 1, pad_token_id=n - 1)


def unet(channels, name):
    config = UNet2DConditionConfig(8, channels, 4, (8, 16), ("CrossAttnDownBlock2D", "DownBlock2D"),
                                   ("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1, attention_head_dim=2,
                                   cross_attention_dim=16, norm_num_groups=4)
    return filled(name, UNet2DConditionModel(config))


@pytest.fixture(scope="module")
def stable(tokenizer):
    vae = AutoencoderKL(AutoencoderConfig(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4))
    text = clip.CLIPTextModel(text_config(tokenizer, 16))
    return StableDiffusion(unet(4, "unet"), filled("vae", vae), filled("text_encoder", text), tokenizer,
                           schedulers.PNDMScheduler(**SD, skip_prk_steps=True))


def unclip_parts(tokenizer):
    text = clip.CLIPTextModelWithProjection(text_config(tokenizer, 12))
    decoder = UNet2DConditionConfig(8, 3, 6, (8, 16), ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
                                    ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
                                    "UNetMidBlock2DSimpleCrossAttn", 1, 4, cross_attention_dim=12, norm_num_groups=4,
                                    resnet_time_scale_shift="scale_shift", class_embed_type="identity")
    larger = UNet2DConfig(16, 6, 3, (8, 8), ("ResnetDownsampleBlock2D",) * 2, ("ResnetUpsampleBlock2D",) * 2,
                          layers_per_block=1, norm_num_groups=4, resnet_time_scale_shift="scale_shift",
                          add_attention=False)
    return {"text_encoder": filled("projection", text), "tokenizer": tokenizer,
            "decoder": filled("decoder", UNet2DConditionModel(decoder)),
            "text_proj": filled("text_proj", UnCLIPTextProjModel(TextProjConfig(2, 12, 32, 12))),
            "super_res_first": filled("first", UNet2DModel(larger)),
            "super_res_last": filled("last", UNet2DModel(larger)),
            "decoder_scheduler": schedulers.UnCLIPScheduler(variance_type="learned_range"),
            "super_res_scheduler": schedulers.UnCLIPScheduler()}


@pytest.fixture(scope="module")
def unclip(tokenizer):
    prior = filled("prior", PriorTransformer(PriorConfig(2, 4, 2, 12, 20)))
    scheduler = schedulers.UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0)
    return UnCLIP(**unclip_parts(tokenizer), prior=prior, prior_scheduler=scheduler)


def noise(prefix="noise", same=0):
    """Draws by number; the first ones the same for both images."""
    numbers = iter(range(99))

    def next_draw(shape):
        i = next(numbers)
        x = draw(f"{prefix}{i}", (2, *shape))
        x[1] = x[0] if i < same else x[1]
        return Tensor(x)
    return next_draw


def picture(name, height, width):
    return ((draw(name, (height, width, 3)) / math.sqrt(3) + 1) * 127.5).astype(np.uint8)


IMAGE, HOLE = picture("image", 16, 16), np.zeros((16, 16), bool)
HOLE[4:12, 2:10] = True
CASES = {"text": ("pndm", {"steps": 6}), "image": ("euler", {"steps": 6, "image": IMAGE, "strength": 0.6}),
         "hole": ("ddim", {"steps": 5, "image": IMAGE, "mask": HOLE, "strength": 0.7}),
         "fill": ("pndm", {"steps": 5, "image": IMAGE, "mask": HOLE})}


@pytest.mark.parametrize("case", CASES)
def test_stable_diffusion_draws_what_diffusers_draws(stable, case):
    name, options = CASES[case]
    network = unet(9, "unet9") if case == "fill" else stable.unet
    own = {"skip_prk_steps": True} if name == "pndm" else {}
    pipe = StableDiffusion(network, stable.vae, stable.text_encoder, stable.tokenizer,
                           schedulers.create(name, **{**SD, **own, **({"set_alpha_to_one": False} if name == "ddim"
                                                                      else {})}))
    last = []
    draws = noise() if case == "text" else noise("same", 2)
    images = pipe(PROMPTS, "red", guidance=5.0, noise=draws, callback=lambda i, n, x: last.append(x.numpy()), **options)
    want = WANT[f"{case}.latents"]
    np.testing.assert_allclose(last[-1], want, rtol=0, atol=2e-5 * np.abs(want).max())
    assert np.abs(images.astype(int) - WANT[f"{case}.images"]).max() <= 1


def test_unclip_draws_what_diffusers_draws(unclip):
    images = unclip(PROMPTS, prior_steps=4, steps=5, super_res_steps=3, noise=noise())
    assert np.abs(images.astype(int) - WANT["unclip.images"]).max() <= 1


def test_unclip_variations_are_those_of_diffusers(tokenizer):
    encoder = clip.CLIPVisionModelWithProjection(clip.CLIPVisionConfig(16, 32, 12, 2, 2, 3, 16, 8))
    pipe = UnCLIPVariations(**unclip_parts(tokenizer), image_encoder=filled("image_encoder", encoder))
    images = pipe(picture("photo", 26, 20), 2, steps=5, super_res_steps=3, noise=noise())
    assert np.abs(images.astype(int) - WANT["variations.images"]).max() <= 2


# -- folders and files --------------------------------------------------------------------------------

def same(a, b):
    return all((x.numpy() == y.numpy()).all() for m, n in zip(a.networks, b.networks)
               for x, y in zip(m.parameters(), n.parameters()))


def test_folders_in_diffusers_layout_round_trip(stable, unclip, tmp_path):
    for pipe in stable, unclip:
        folder = tmp_path / type(pipe).__name__
        pipe.save_pretrained(folder)
        again = image_pipeline(folder)
        assert type(again) is type(pipe) and same(again, pipe)
        assert (folder / pipe.names[0] / "diffusion_pytorch_model.safetensors").is_file()
    assert again.prior_scheduler.config == unclip.prior_scheduler.config


def test_one_file_is_a_pipeline(stable, tmp_path):
    path = tmp_path / "model.safetensors"
    networks = {name: getattr(stable, name) for name in ("unet", "vae", "text_encoder")}
    save_single_file(networks, path)
    pipe = StableDiffusion.from_single_file(path, stable.tokenizer, configs={n: m.config for n, m in networks.items()})
    assert (pipe("the cat", steps=2, seed=3) == stable("the cat", steps=2, seed=3)).all()


def broken(folder, how):
    if how == "index":
        (folder / "model_index.json").unlink()
    elif how == "class":
        (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    elif how == "part":
        shutil.rmtree(folder / "vae")
    elif how == "weights":
        (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    elif how == "cut":
        file = folder / "unet" / "diffusion_pytorch_model.safetensors"
        file.write_bytes(file.read_bytes()[:500])
    elif how == "unsafe":
        (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
        shutil.copy(Path(__file__).parents[1] / "parity/formats/refuse_zip.pth",
                    folder / "vae" / "diffusion_pytorch_model.bin")
    elif how == "scheduler":
        (folder / "scheduler" / "scheduler_config.json").write_text(
            '{"_class_name": "FlowMatchEulerDiscreteScheduler"}')


@pytest.mark.parametrize("how, text", [
    ("index", "model_index.json"), ("class", "FluxPipeline"), ("part", "Missing: vae"), ("weights", "unet"),
    ("cut", "cut short"), ("unsafe", "Nothing was run"), ("scheduler", "FlowMatch")])
def test_folders_that_are_not_whole_are_refused(stable, tmp_path, how, text):
    stable.save_pretrained(tmp_path / "model")
    broken(tmp_path / "model", how)
    with pytest.raises(CheckpointError, match=text):
        image_pipeline(tmp_path / "model")


def test_no_folder():
    with pytest.raises(CheckpointError, match="a folder"):
        image_pipeline("/no/such/folder")


# -- seeds, memory, arguments ---------------------------------------------------------------------------

def test_an_image_is_its_seeds_alone_and_in_a_batch(stable):
    together = stable(["the cat", "dog"], steps=3, seed=5)
    assert (together == stable(["the cat", "dog"], steps=3, seed=[5, 6])).all()
    alone = stable("dog", steps=3, seed=6)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1
    assert (stable("dog", steps=3, seed=6, num_images=2)[0] == alone[0]).all() or np.abs(
        stable("dog", steps=3, seed=6, num_images=2)[0].astype(int) - alone[0]).max() <= 1
    assert (together[0] != together[1]).any()


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes_draw_nearly_the_same(stable, unclip, dtype):
    """(unCLIP's first step divides by next to nothing: there some pixels may be others in float32, too.)"""
    classes = DDPM(*small_classes())
    calls = (stable, lambda: stable("cat", image=IMAGE, mask=HOLE, strength=0.7, steps=3, seed=5)), (
        unclip, lambda: unclip("cat", prior_steps=2, steps=2, super_res_steps=2, seed=5)), (
        classes, lambda: classes([1, 2], steps=3, seed=5))
    for pipe, call in calls:
        want = call()
        try:
            found = pipe.to("cpu", dtype)
            assert str(pipe.dtype) == dtype and found is pipe
            assert np.abs(call().astype(int) - want).mean() < 8
        finally:
            pipe.to("float32")


def test_slices_draw_the_same(stable):
    whole = stable(["the cat", "dog"], steps=3, seed=5)
    stable.sliced = True
    try:
        assert np.abs(whole.astype(int) - stable(["the cat", "dog"], steps=3, seed=5)).max() <= 1
    finally:
        stable.sliced = False


def test_tiles_are_blended():
    x = Tensor(np.random.default_rng(0).standard_normal((1, 2, 20, 13)).astype("f4"))
    twice = tiled(lambda x: Tensor(x.numpy().repeat(2, 2).repeat(2, 3)), x, 8, 2)
    np.testing.assert_allclose(twice.numpy(), x.numpy().repeat(2, 2).repeat(2, 3), rtol=1e-5)
    x, seen = Tensor(np.random.default_rng(0).standard_normal((1, 2, 24, 16)).astype("f4")), []

    def halved(x):
        seen.append(x.shape[2:])
        return Tensor(x.numpy()[:, :, ::2, ::2].copy())
    np.testing.assert_allclose(tiled(halved, x, 8, 1 / 2).numpy(), x.numpy()[:, :, ::2, ::2], rtol=1e-5)
    assert max(max(s) for s in seen) <= 8


def test_tiled_pictures_are_nearly_whole_ones(stable):
    options = {"image": picture("wide", 32, 48), "strength": 0.5, "steps": 4, "seed": 1}
    whole = stable("the cat", **options)
    with pytest.raises(ArgumentError, match="tile"):
        stable.tile = 1
    stable.tile = 25                                   # (rounded down to whole latents)
    try:
        found = stable("the cat", **options)
    finally:
        stable.tile = None
    assert found.shape == whole.shape == (1, 32, 48, 3)
    assert np.corrcoef(whole.ravel(), found.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("options, text", [
    ({"prompt": "the red cat " * 9}, "at most 20 tokens"), ({"width": 17}, "a multiple of 2"), ({"steps": 0}, "steps"),
    ({"strength": 0, "image": IMAGE}, "strength"), ({"mask": HOLE}, "image"), ({"seed": [1, 2]}, "1 seeds"),
    ({"image": IMAGE[:, :, 0]}, "uint8"), ({"image": IMAGE, "mask": IMAGE}, "mask"), ({"prompt": []}, "prompt"),
    ({"image": "cat.png"}, "image"), ({"prompt": None}, "prompt"), ({"seed": "a"}, "seed"),
    ({"guidance": "7"}, "guidance"), ({"strength": "a", "image": IMAGE}, "strength"),
    ({"num_images": 0}, "num_images"), ({"negative_prompt": ["a", "b"]}, "negative_prompt")])
def test_arguments_that_do_not_fit(stable, options, text):
    with pytest.raises(ArgumentError, match=text):
        stable(**{"prompt": "cat", "steps": 2, **options})


def test_nothing_that_is_not_to_be_drawn(stable):
    assert (stable("cat", None, steps=1, seed=0) == stable("cat", steps=1, seed=0)).all()


def test_without_a_seed_the_default_generator_chooses(stable):
    found = []
    for first in 4, 4, 5:
        seed(first)
        found += [stable("cat", steps=1), stable("cat", steps=1)]
    assert (found[0] == found[2]).all() and (found[1] == found[3]).all()
    assert (found[0] != found[1]).any() and (found[0] != found[4]).any()


def test_long_prompts_are_cut_where_asked(stable):
    assert stable("the red cat " * 9, steps=1, truncation=True, seed=0).shape == (1, 16, 16, 3)


def test_parts_that_do_not_belong_together(stable, unclip):
    with pytest.raises(ArgumentError, match="cross_attention_dim"):
        StableDiffusion(stable.unet, stable.vae, unclip.text_encoder, stable.tokenizer, stable.scheduler)
    encoder = clip.CLIPVisionModelWithProjection(clip.CLIPVisionConfig(16, 32, 10, 2, 2, 3, 16, 8))
    parts = unclip_parts(stable.tokenizer)
    with pytest.raises(ArgumentError, match="image_encoder.projection_dim: expected 12, got 10"):
        UnCLIPVariations(**parts, image_encoder=encoder)
    with pytest.raises(ArgumentError, match="parts: expected decoder, .*image_encoder"):
        UnCLIPVariations(**parts)
    with pytest.raises(ArgumentError, match="mask"):
        StableDiffusion(unet(9, "unet9"), stable.vae, stable.text_encoder, stable.tokenizer, stable.scheduler)("cat")


def test_weights_that_are_not_finite_are_an_error(stable):
    wrong = filled("vae", type(stable.vae)(stable.vae.config))
    wrong.decoder.conv_in.bias.data[...] = np.nan
    with pytest.raises(ArgumentError, match="NaN"):
        StableDiffusion(stable.unet, wrong, stable.text_encoder, stable.tokenizer, stable.scheduler)("cat", steps=1)


def small_classes():
    config = UNet2DConfig(8, 1, 1, (8, 8), ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D"),
                          layers_per_block=1, attention_head_dim=4, norm_num_groups=2, num_class_embeds=4)
    return filled("classes", UNet2DModel(config)), schedulers.create("ddim")


def test_classes_are_sampled_with_seeds(tmp_path):
    network, scheduler = small_classes()
    both = sample_images(network, scheduler, labels=[0, 2], steps=4, seed=7).numpy()
    alone = sample_images(network, scheduler, labels=[2], steps=4, seed=8).numpy()
    np.testing.assert_allclose(alone, both[1:], atol=1e-4)
    DDPM(network, scheduler).save_pretrained(tmp_path / "model")
    again = image_pipeline(tmp_path / "model")(labels=[0, 2], steps=4, seed=7)
    assert again.shape == (2, 8, 8, 1) and (again == DDPM(network, scheduler)([0, 2], steps=4, seed=7)).all()
    for labels in [3], [-1], [0.5], []:
        with pytest.raises(ArgumentError, match="classes below 3"):
            sample_images(network, scheduler, labels=labels)
    with pytest.raises(ArgumentError, match="count"):
        sample_images(network, scheduler, 0)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("weighting", ["none", "min-snr"])
def test_what_is_learnt_is_the_target(prediction, weighting):
    """The loss of a network that knows the answer is 0; of one that says 0, what the weights make of the target."""
    network, _ = small_classes()
    scheduler = schedulers.create("ddpm", prediction_type=prediction)
    x0 = Tensor(np.random.default_rng(0).uniform(-1, 1, (64, 1, 8, 8)).astype("f4"))

    class Knows:
        config, sees = network.config, []

        def __call__(self, x, t, labels):
            self.sees.append(labels.numpy())
            picture, rest = (Tensor(s.astype("f4")[:, None, None, None]) for s in scheduler.shares(t.numpy()))
            noise = (x - x0 * picture) / rest
            return {"epsilon": noise, "sample": x0, "v_prediction": noise * picture - x0 * rest}[prediction]
    knows = Knows()
    labels = Tensor(np.zeros(64, "i8"))
    assert diffusion_loss(knows, scheduler, x0, labels, 0.5, weighting, random.key(1)).item() < 1e-4
    with pytest.raises(ArgumentError, match="drop"):
        diffusion_loss(knows, scheduler, x0, labels, 1.5)
    assert 16 < (knows.sees[0] == 3).sum() < 48
    times = np.arange(1000)
    picture, rest = scheduler.shares(times)
    of_x0 = {"epsilon": (rest / picture) ** 2, "sample": 1.0, "v_prediction": rest ** 2}[prediction]
    if weighting == "min-snr":                         # (in units of x_0's error it is the same for every prediction)
        np.testing.assert_allclose(weights(scheduler, times, weighting, x0).numpy() / of_x0,
                                   np.minimum((picture / rest) ** 2, 5.0), rtol=1e-4)


def test_weights_where_nothing_is_left_of_the_picture():
    for prediction in "epsilon", "v_prediction", "sample":
        scheduler = schedulers.create("ddpm", prediction_type=prediction, rescale_betas_zero_snr=True)
        found = weights(scheduler, np.array([999]), "min-snr", Tensor(np.zeros(1, "f4"))).item()
        assert found == (prediction == "epsilon")


def test_a_few_steps_of_training_lower_the_loss():
    network, _ = small_classes()
    seed(0)
    images = np.random.default_rng(0).uniform(-1, 1, (16, 1, 1, 1)).astype("f4") * np.ones((16, 1, 8, 8), "f4")
    loader = [(images, np.arange(16) % 3)] * 15
    run = DiffusionTrainer(network, optim.Adam(network.parameters(), 5e-3), schedulers.create("ddpm"), epochs=2)
    history = run.fit(loader, [loader[0]])
    assert history[1]["val_loss"] < history[0]["val_loss"] < 1.5 and history[1]["loss"] < 0.8 * history[0]["loss"]


def test_the_command_line_draws(stable, unclip, tmp_path):
    stable.save_pretrained(tmp_path / "sd")
    unclip.save_pretrained(tmp_path / "unclip")
    write_image(tmp_path / "given.png", IMAGE)
    write_image(tmp_path / "hole.png", HOLE.astype(np.uint8) * 255)

    def draw(out, folder, *options):
        result = CliRunner().invoke(app, ["generate", "image", str(tmp_path / folder), *map(str, options), "--seed=3",
                                          "--out", str(tmp_path / out)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return read_image(tmp_path / out)

    prompt = "--prompt", "the red cat", "--steps", 4
    a = draw("a.png", "sd", *prompt, "--preview", 2, "--count", 2)
    assert a.shape == (16, 34, 3) and (tmp_path / "a-step-004.png").is_file()
    assert (a == draw("b.png", "sd", *prompt, "--count", 2)).all()
    c = draw("c.png", "sd", tmp_path / "given.png", *prompt, "--mask", tmp_path / "hole.png", "--scheduler", "euler")
    assert (c == stable_with(stable, "euler")("the red cat", image=IMAGE, mask=HOLE, steps=4, seed=3)[0]).all()
    assert draw("d.png", "unclip", *prompt).shape == (16, 16, 3)
    with pytest.raises(ArgumentError, match="--prompt"):
        draw("e.png", "sd")


def stable_with(pipe, name):
    return StableDiffusion(pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer,
                           schedulers.create(name).from_config(pipe.scheduler.to_dict()))
