"""Diffusion models: schedulers, Stable Diffusion, unCLIP."""
import numpy as np

from ... import Tensor, ops
from ...models.diffusion import schedulers
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


@runs("clip_text")
def clip_text(case):
    """transformers.CLIPTextModel."""
    model = loaded(clip.CLIPTextModel(clip.CLIPTextConfig.from_hf(case.config)), case)
    output = model(Tensor(case.inputs["input_ids"]), output_hidden_states=True)
    return Run({"last_hidden_state": output.last_hidden_state, "pooler_output": output.pooler_output,
                "hidden.-2": output.hidden_states[-2]}, model=model)


@runs("clip_model")
def clip_model(case):
    """transformers.CLIPModel."""
    model = loaded(clip.CLIPModel(clip.CLIPConfig.from_hf(case.config)), case)
    output = model(**{name: Tensor(array) for name, array in case.inputs.items()})
    return Run({name: output[name] for name in output.keys()}, model=model)
