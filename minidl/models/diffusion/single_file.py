"""Stable Diffusion 1.x in one file, as it was published: the parts' tensors side by side, under prefixes.

Source: Rombach et al. 2021, arXiv:2112.10752, the checkpoints; their names' twins: diffusers.
"""
from ... import io, nn
from ...errors import CheckpointError, message
from ..text.clip import CLIPTextModel, clip_vit_large_text
from ..weights import below, load_weights
from .autoencoder import AutoencoderKL, stable_diffusion_vae
from .unet import UNet2DConditionModel, stable_diffusion_unet

PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model.",
            "text_encoder": "cond_stage_model.transformer."}
LAYOUTS = {"unet": "compvis", "vae": "compvis", "text_encoder": "huggingface"}
KINDS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
FIRST = "input_blocks.0.0.weight"


def published_configs(in_channels=4):
    """{part: config} of Stable Diffusion 1.x; 9 channels where it fills in masked parts of images."""
    return {"unet": stable_diffusion_unet().replace(in_channels=in_channels), "vae": stable_diffusion_vae(),
            "text_encoder": clip_vit_large_text()}


def load_single_file(path, configs=None):
    """The networks in a file of Stable Diffusion 1.x; what is not a network's, as its schedule, is left alone.

    Args:
        path: of a .safetensors or .ckpt file; nothing in it is run.
        configs: {"unet", "vae", "text_encoder"}: their configs; None: the published ones.

    Returns:
        {"unet", "vae", "text_encoder"}: models in evaluation mode.

    Raises:
        CheckpointError: a part is missing, or not of its config; the file is damaged or more than data.
    """
    weights = io.weights(path)
    found = {name: below(weights, prefix) for name, prefix in PREFIXES.items()}
    if missing := [PREFIXES[name] for name, tensors in found.items() if not tensors]:
        raise CheckpointError(message("load_single_file", "path", f"tensors below {', '.join(PREFIXES.values())}",
                                      f"none below {', '.join(missing)} in {path}",
                                      "Files of one part are read by load_weights."))
    if configs is None:
        first = found["unet"].get(FIRST)
        configs = published_configs(4 if first is None else first.shape[1])
    models = {}
    for name, tensors in found.items():
        with nn.shapes_only():
            models[name] = KINDS[name](configs[name])
        load_weights(models[name], tensors, layout=LAYOUTS[name])
        models[name].eval()
    return models


def save_single_file(models, path):
    """Write the networks {"unet", "vae", "text_encoder"} to one .safetensors file under the published names."""
    state = {}
    for name, model in models.items():
        own = {n: t.numpy() for n, t in model.state_dict().items()}
        official = model.keymap(LAYOUTS[name]).write(own)
        state |= {PREFIXES[name] + n: official[n] for n in official}
    io.save(state, path)
