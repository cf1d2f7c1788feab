"""Diffusion models: schedulers, Stable Diffusion, unCLIP."""
import numpy as np

from ... import Tensor, ops
from ...models.diffusion import schedulers
from ...models.diffusion.autoencoder import AutoencoderKL
from ...models.diffusion.unclip import PriorTransformer, UnCLIPTextProjModel
from ...models.diffusion.unet import UNet2DConditionModel, UNet2DModel
from ...models.text import clip
from . import Run, runs
from .classification import loaded

SAMPLERS = {"ddim": "ddim", "ddpm": "ddpm", "dpmpp_2m": "dpm++", "euler": "euler", "euler_a": "euler-a", "heun": "heun",
            "lms": "lms", "pndm": "pndm", "unclip": "unclip"}
WORDS = "leading", "karras", "vpred"                   # that a case's name ends in


@runs("schedulers")
def trajectories(case):
    """Every scheduler's way from the case's noise down, with a network that is one formula."""
    found = {}
    for name, told in case.config.items():
        kind = schedulers.SCHEDULERS[SAMPLERS["_".join(w for w in name.split("_") if w not in WORDS)]]
        steps = [info["shape"][0] for out, info in case.meta["outputs"].items() if out == f"{name}.traj"][0]
        scheduler = kind.from_config(told)
        scheduler.set_timesteps(calls_to_steps(scheduler, steps))
        found |= {f"{name}.{key}": value for key, value in walk(scheduler, case).items()}
    return Run(found)


def calls_to_steps(scheduler, calls):
    """How many steps take so many calls of the network."""
    return next(n for n in range(1, calls + 1) if len(scheduler.plan(n, 0)) == calls)


def walk(scheduler, case):
    """One scheduler's outputs."""
    draws = iter(case.inputs["noise"])
    start, weight = Tensor(case.inputs["latents"]), Tensor(case.inputs["W"])
    x, way, used = start * scheduler.init_noise_sigma, [], []

    def noise():
        used.append(next(draws))
        return Tensor(used[-1])

    for t in scheduler.timesteps:
        given = scheduler.scale_model_input(x)
        mixed = ops.permute_dims(ops.permute_dims(given, (0, 2, 3, 1)) @ weight.mT, (0, 3, 1, 2))
        output = ops.tanh(mixed + 0.001 * float(t))
        if getattr(scheduler.config, "variance_type", "").startswith("learned"):
            output = ops.concat([output, ops.tanh(output[:, ::-1])], 1)
        x = scheduler.step(output, t, x, noise)
        way.append(x.numpy())
    return {"timesteps": scheduler.timesteps, "sigmas": getattr(scheduler, "sigmas", None),
            "alphas_cumprod": scheduler.alphas_cumprod, "traj": np.stack(way), "noise_used": np.array(len(used)),
            "add_noise": scheduler.add_noise(start, Tensor(case.inputs["noise"][0]), scheduler.timesteps[2])}


def built(kind, case):
    """A model from the case's config.json."""
    return loaded(kind(kind.config_class.from_hf(case.config)), case)


def tensors(case):
    """The case's inputs."""
    return {name: Tensor(array) for name, array in case.inputs.items()}


@runs("clip_text")
def clip_text(case):
    """transformers.CLIPTextModel."""
    model = built(clip.CLIPTextModel, case)
    output = model(Tensor(case.inputs["input_ids"]), output_hidden_states=True)
    return Run({"last_hidden_state": output.last_hidden_state, "pooler_output": output.pooler_output,
                "hidden.-2": output.hidden_states[-2]}, model=model)


@runs("clip_model")
def clip_model(case):
    """transformers.CLIPModel."""
    model = built(clip.CLIPModel, case)
    output = model(**tensors(case))
    return Run({name: output[name] for name in output.keys()}, model=model)


@runs("sd15_unet", "unclip_decoder", "unclip_superres")
def unet(case):
    """diffusers' UNet2DConditionModel and UNet2DModel."""
    kind = UNet2DConditionModel if "cross_attention_dim" in case.config else UNet2DModel
    model = built(kind, case)
    return Run({name: model(**tensors(case)) for name in case.meta["outputs"]}, model=model)


@runs("sd15_vae")
def autoencoder(case):
    """diffusers' AutoencoderKL."""
    model, given = built(AutoencoderKL, case), tensors(case)
    mean, logvar = model.encode(given["x"])
    return Run({"mean": mean, "logvar": logvar, "decoded": model.decode(given["z"]),
                "recon_from_mean": model.decode(mean)}, model=model)


@runs("unclip_prior")
def prior(case):
    """diffusers' PriorTransformer."""
    model = built(PriorTransformer, case)
    found = model(**tensors(case))
    return Run({"pred": found, "post": model.post_process_latents(found)}, model=model)


@runs("unclip_text_proj")
def text_projection(case):
    """diffusers' UnCLIPTextProjModel, with guidance: the first half of the texts has no images."""
    model, given = built(UnCLIPTextProjModel, case), tensors(case)
    images = given.pop("image_embeddings")
    found = model(ops.concat([images, images]), **given, dropped=Tensor(np.repeat([True, False], len(images))))
    return Run({name: found[name] for name in found.keys()}, model=model)
