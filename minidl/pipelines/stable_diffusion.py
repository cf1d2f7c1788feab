"""Stable Diffusion 1.x: images from texts, from images and texts, and into holes of images.

    from minidl.pipelines import StableDiffusion
    pipe = StableDiffusion.from_pretrained("directory")        # in diffusers' layout
    images = pipe("a photo of a cat", steps=30, seed=0)        # (1, 512, 512, 3), uint8
    pipe.to("cuda", "float16")                                 # in half the memory

Source: Rombach et al. 2021, "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv:2112.10752.
"""
from numbers import Real

import numpy as np

from .. import ops
from ..data.image import resize
from ..errors import ArgumentError, message, number
from ..models.diffusion.sampling import Noise, denoise, guided, seeds
from ..models.diffusion.schedulers import PNDMScheduler
from ..models.diffusion.single_file import load_single_file
from ..models.diffusion.tiling import tiled
from ..tape import no_grad
from ..tensor import Tensor
from ..text import load_tokenizer
from .image import ImagePipeline, repeated, texts, to_uint8

SETTINGS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1,
            "skip_prk_steps": True}                    # of the published networks' schedule


class StableDiffusion(ImagePipeline):
    """Texts to images, by way of latents an eighth as high and wide.

    Args:
        unet, vae, text_encoder, tokenizer, scheduler: its parts.

    Attributes:
        scheduler: may be another; one that would clip x_0, which is no picture here, does not.
        sliced: networks see one image at a time, and guidance asks twice: the least memory. (Attention never holds
            its scores, sliced or not.)
        tile: encode and decode large images by tiles of so many pixels a side, rounded down to whole latents; None: as
            a whole.

    Raises:
        ArgumentError: parts that do not fit each other.
    """

    names = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    kinds = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline")

    def __init__(self, unet, vae, text_encoder, tokenizer, scheduler):
        super().__init__(unet=unet, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler)
        self.sliced, self.tile = False, None
        told, wanted = text_encoder.config.hidden_size, unet.config.cross_attention_dim
        latents = vae.config.latent_channels
        self.fills = unet.config.in_channels == 2 * latents + 1        # is the network told what to fill in?
        if told != wanted or unet.config.in_channels not in (latents, 2 * latents + 1):
            raise ArgumentError(message(
                "StableDiffusion", "unet", f"cross_attention_dim {told} and in_channels {latents} or {2 * latents + 1}",
                (wanted, unet.config.in_channels), "Do these parts belong together?"))
        self.check_tokenizer()

    @classmethod
    def from_single_file(cls, path, tokenizer, scheduler=None, configs=None):
        """From one .safetensors or .ckpt file, as Stable Diffusion 1.x was published.

        Args:
            path: of the file; nothing in it is run.
            tokenizer: CLIP's, or a directory that holds its files: the file does not.
            scheduler: None: PNDM.
            configs: of the networks, as of `load_single_file`; None: the published ones.
        """
        if not hasattr(tokenizer, "get_vocab"):
            tokenizer = load_tokenizer(tokenizer)
        return cls(**load_single_file(path, configs), tokenizer=tokenizer,
                   scheduler=scheduler or PNDMScheduler(**SETTINGS))

    @property
    def scheduler(self):
        """How noise is taken away."""
        return self._scheduler

    @scheduler.setter
    def scheduler(self, scheduler):
        told = scheduler.to_dict()
        self._scheduler = type(scheduler).from_config({**told, "clip_sample": False}) if told.get("clip_sample") \
            else scheduler

    @property
    def tile(self):
        """Pixels a side of a tile, or None."""
        return self._tile

    @tile.setter
    def tile(self, tile):
        if tile is not None:
            tile = number("StableDiffusion", "tile", tile, self.factor, whole=True) // self.factor * self.factor
        self._tile = tile

    # -- calls --------------------------------------------------------------------------------------

    def __call__(self, prompt, negative_prompt="", image=None, mask=None, strength=None, height=None, width=None,
                 steps=50, guidance=7.5, num_images=1, seed=None, truncation=False, callback=None, noise=None):
        """Draw images.

        Args:
            prompt, negative_prompt: what to draw, and what not; a string, or a list of them; None: nothing that not.
            image (H, W, 3): uint8, to begin from; None: from noise.
            mask (H, W): bool, or uint8 above 127: where to draw anew; the rest stays.
            strength: in (0, 1]: how much of the way from noise there is to go, 1 forgets the image; None: 0.8, with a
                mask 1.
            height, width: in pixels; None: the image's, or as the network was trained.
            steps: of the scheduler.
            guidance: how much the prompt is exaggerated; 1: not at all, the negative prompt counts for nothing.
            num_images: of each prompt.
            seed: an integer, for the first image, and the following ones for the others; or a list; None: drawn.
            truncation: cut prompts that are too long.
            callback: called after each step with (number of steps done, of all, latents); `decode` shows them.
            noise: in place of seeds, a function: shape -> (N, *shape).

        Returns:
            (N, H, W, 3), uint8; images of one prompt lie together.

        Raises:
            ArgumentError: a prompt is longer than the text encoder reads; sizes are no multiples of the autoencoder's
                factor; a mask without an image; numbers out of range.
        """
        prompts = repeated(prompt, number("StableDiffusion", "num_images", num_images, 1, whole=True))
        number("StableDiffusion", "guidance", guidance)
        image = None if image is None else _checked(image)
        height, width = self._size(image, mask, height, width)
        count, latent = len(prompts), (self.vae.config.latent_channels, height // self.factor, width // self.factor)
        noise = noise or Noise(seeds("StableDiffusion", seed, count), self.device, self.dtype)
        with no_grad():
            states = self.encode(prompts, negative_prompt, guidance != 1, truncation)
            start = self._start(steps, image, mask, strength)
            self.scheduler.set_timesteps(steps, start)
            pixels = None if image is None else _pixels(image, height, width).to(self.device).astype(self.dtype)
            hole = None if mask is None else _hole(mask, height, width).to(self.device).astype(self.dtype)
            known = None if image is None or self.fills and not start else self._latents(pixels, noise)
            given = noise(latent)
            if known is None or not start and mask is not None:
                x = given * self.scheduler.init_noise_sigma
            else:
                x = self.scheduler.add_noise(known, given, self.scheduler.timesteps[0])
            beside = self._beside(pixels, hole, noise, latent) if self.fills else None

            def network(x, t):
                return self._predicted(x if beside is None else ops.concat([x, beside], 1), t, states, guidance)

            def behind(step, total, x):
                if hole is not None and not self.fills:
                    x = self._kept(known, given, step, total) * (1.0 - small) + x * small
                if callback is not None:
                    callback(step, total, x)
                return x

            small = None if hole is None else ops.interpolate(hole, latent[1:])
            return self.decode(denoise(network, self.scheduler, x, noise, behind))

    def _kept(self, known, given, step, total):
        """What is around a hole behind a step: latents of the image, as noisy as x."""
        return known if step == total else self.scheduler.add_noise(known, given, self.scheduler.timesteps[step])

    @property
    def factor(self):
        """Pixels of a latent, a side."""
        return self.vae.config.factor

    def _size(self, image, mask, height, width):
        """(height, width) of what is drawn."""
        if mask is not None and image is None:
            raise ArgumentError(message("StableDiffusion", "image", "one, as there is a mask", "none"))
        if self.fills and mask is None:
            raise ArgumentError(message("StableDiffusion", "mask", "one: this network fills in holes", "none"))
        usual = (self.unet.config.sample_size or 64) * self.factor
        default = (usual, usual) if image is None else [n // self.factor * self.factor for n in np.shape(image)[:2]]
        size = default[0] if height is None else height, default[1] if width is None else width
        for name, value in zip(("height", "width"), size):
            number("StableDiffusion", name, value, self.factor, whole=True)
            if value % self.factor:
                near = value // self.factor * self.factor
                raise ArgumentError(message("StableDiffusion", name, f"a multiple of {self.factor}", value,
                                            f"{near} and {near + self.factor} are."))
        return size

    def _start(self, steps, image, mask, strength):
        """How many steps are left out."""
        usual = 1.0 if image is None or mask is not None else 0.8
        strength = usual if strength is None or image is None else strength
        if not isinstance(strength, Real) or not 0 < strength <= 1:
            raise ArgumentError(message("StableDiffusion", "strength", "a number in (0, 1]", strength))
        return min(number("StableDiffusion", "steps", steps, 1, whole=True) - 1, steps - int(steps * strength))

    def encode(self, prompts, negative="", guide=True, truncation=False):
        """States of prompts (N, T, W); to guide, those of negative prompts first (2N, T, W).

        Raises:
            ArgumentError: a prompt is too long, or there are not as many negative ones.
        """
        negatives = texts("negative_prompt", "" if negative is None else negative)
        if len(prompts) % len(negatives) == 0:
            negatives = [n for n in negatives for _ in range(len(prompts) // len(negatives))]
        if len(negatives) != len(prompts):
            raise ArgumentError(message("StableDiffusion", "negative_prompt", f"one, or {len(prompts)}",
                                        len(negatives)))
        ids = self.tokens([*negatives, *prompts] if guide else prompts, truncation)["input_ids"]
        with no_grad():
            return self.text_encoder(Tensor(ids).to(self.device)).last_hidden_state

    def decode(self, latents):
        """Images (N, H, W, 3), uint8, of latents (N, C, h, w) as the scheduler has them."""
        with no_grad():
            latents = latents * (1 / self.vae.config.scaling_factor)
            shares = [latents[i:i + 1] for i in range(len(latents))] if self.sliced else [latents]
            return np.concatenate([to_uint8(self._decoded(share)) for share in shares])

    def _decoded(self, latents):
        if self.tile is None:
            return self.vae.decode(latents)
        return tiled(self.vae.decode, latents, self.tile // self.factor, self.factor)

    def _latents(self, pixels, noise):
        """Latents (N, C, h, w), drawn as the autoencoder says, of one image (1, 3, H, W)."""
        def both(x):
            return ops.concat(self.vae.encode(x), 1)
        found = both(pixels) if self.tile is None else tiled(both, pixels, self.tile, 1 / self.factor)
        mean, log_variance = ops.chunk(found, 2, axis=1)
        return (mean + ops.exp(log_variance * 0.5) * noise(mean.shape[1:])) * self.vae.config.scaling_factor

    def _beside(self, pixels, hole, noise, latent):
        """What a network that fills in holes sees beside x: the hole, and what is around it, (N, 1 + C, h, w)."""
        around = self._latents(pixels * (1.0 - hole), noise)
        small = ops.interpolate(hole, latent[1:])
        return ops.concat([ops.broadcast_to(small, (len(around), *small.shape[1:])), around], 1)

    def _predicted(self, x, t, states, guidance):
        """What the network says of x_t, guided."""
        channels, count = self.unet.config.out_channels, len(x)
        if len(states) == count:
            asked = [(x, states)]
        elif self.sliced:
            asked = [(x, states[:count]), (x, states[count:])]
        else:
            asked = [(ops.concat([x, x]), states)]
        if self.sliced:
            asked = [(a[i:i + 1], b[i:i + 1]) for a, b in asked for i in range(count)]
        found = [self.unet(a, float(t), b) for a, b in asked]
        output = found[0] if len(found) == 1 else ops.concat(found)
        return output if len(states) == count else guided(output, guidance, channels)


def _checked(image):
    """An image as an array, which must be (H, W, 3), uint8."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ArgumentError(message("StableDiffusion", "image", "(H, W, 3), uint8", f"{image.dtype} {image.shape}"))
    return image


def _pixels(image, height, width):
    """An image (H, W, 3), uint8, as (1, 3, height, width) in [-1, 1]."""
    if image.shape[:2] != (height, width):
        image = resize(image, (height, width), "lanczos")
    return Tensor((image.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None].copy())


def _hole(mask, height, width):
    """A mask (H, W) as (1, 1, height, width), 1.0 where to draw anew."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype not in (np.uint8, np.bool_):
        raise ArgumentError(message("StableDiffusion", "mask", "(H, W), bool or uint8", f"{mask.dtype} {mask.shape}"))
    found = Tensor((mask if mask.dtype == np.bool_ else mask > 127).astype(np.float32)[None, None])
    return found if mask.shape == (height, width) else ops.interpolate(found, (height, width))
