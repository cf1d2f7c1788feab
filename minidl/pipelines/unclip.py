"""unCLIP (DALL-E 2): images from texts, and variations of images, in Karlo's layout.

    from minidl.pipelines import UnCLIP
    images = UnCLIP.from_pretrained("directory")("a photo of a cat", seed=0)       # (1, 256, 256, 3), uint8

    text -> CLIP's vector -> prior -> an image's vector -> decoder, 64 pixels -> super-resolution, 256 pixels

Source: Ramesh et al. 2022, "Hierarchical Text-Conditional Image Generation with CLIP Latents", arXiv:2204.06125.
"""
from dataclasses import replace

import numpy as np

from .. import ops
from ..errors import ArgumentError, message, number
from ..models.diffusion.sampling import Noise, denoise, guided, seeds
from ..models.text.clip import INPUTS
from ..tape import no_grad
from ..tensor import Tensor
from .image import ImagePipeline, repeated, to_uint8

DRAWING = ("decoder", "text_encoder", "tokenizer", "text_proj", "super_res_first", "super_res_last",
           "decoder_scheduler", "super_res_scheduler")


class _Drawing(ImagePipeline):
    """From vectors of images, and texts, to images. A subclass has `source`: which part makes the vectors, and the
    field of its config that says how wide."""

    source: tuple

    def __init__(self, **parts):
        super().__init__(**parts)
        self.check_tokenizer()
        told, (part, field) = self.text_proj.config, self.source
        fits = {"text_proj.cross_attention_dim": (self.decoder.config.cross_attention_dim, told.cross_attention_dim),
                "text_proj.time_embed_dim": (self.decoder.config.time_width, told.time_embed_dim),
                "text_proj.clip_embeddings_dim": (self.text_encoder.config.projection_dim, told.clip_embeddings_dim),
                f"{part}.{field}": (told.clip_embeddings_dim, getattr(getattr(self, part).config, field))}
        for name, (want, got) in fits.items():
            if want != got:
                raise ArgumentError(message(type(self).__name__, name, want, got,
                                            "Do these parts belong together?"))

    def encode(self, texts, truncation):
        """Of empty texts, and behind them of these: vectors (2N, D), states (2N, T, D), which tokens count (2N, T)."""
        rows = self.tokens([""] * len(texts) + texts, truncation)
        found = self.text_encoder(Tensor(rows["input_ids"]).to(self.device))
        return found.text_embeds, found.last_hidden_state, Tensor(rows["attention_mask"] > 0).to(self.device)

    def draw(self, vectors, texts, guidance, steps, super_res_steps, noise, callback):
        """Images (N, H, W, 3), uint8, of vectors (N, D) and texts as `encode` has them."""
        embeds, states, mask = texts
        count, extra = len(vectors), self.text_proj.config.clip_extra_context_tokens
        dropped = Tensor(np.repeat([True, False], count)).to(self.device)
        told = self.text_proj(ops.concat([vectors, vectors]), embeds, states, dropped)
        mask = ops.pad(mask, ((0, 0), (extra, 0)), value=True)
        c = self.decoder.config

        def network(x, t):
            output = self.decoder(ops.concat([x, x]), float(t), told.hidden, told.time_add, mask)
            return guided(output, guidance, c.in_channels)

        small = self._sample(network, self.decoder_scheduler, steps, (c.in_channels, c.sample_size, c.sample_size),
                             noise, callback, "decoder")
        return to_uint8(self._larger(ops.clip(small, -1, 1), super_res_steps, noise, callback))

    def _larger(self, small, steps, noise, callback):
        """Images (N, C, H, W) of small ones: the last step is another network's."""
        c = self.super_res_first.config
        size = c.sample_size, c.sample_size
        beside = ops.interpolate(small, size, mode="bicubic", align_corners=False, antialias=True)

        def network(x, t):
            last = t == self.super_res_scheduler.timesteps[-1]
            return (self.super_res_last if last else self.super_res_first)(ops.concat([x, beside], 1), float(t))

        return self._sample(network, self.super_res_scheduler, steps, (c.in_channels // 2, *size), noise, callback,
                            "super-resolution")

    def _sample(self, network, scheduler, steps, shape, noise, callback, stage):
        scheduler.set_timesteps(steps)

        def behind(step, total, x):
            if callback is not None:
                callback(stage, step, total, x)
            return x

        return denoise(network, scheduler, noise(shape) * scheduler.init_noise_sigma, noise, behind)

    def _noise(self, noise, seed, count):
        return noise or Noise(seeds(type(self).__name__, seed, count), self.device, self.dtype)


class UnCLIP(_Drawing):
    """Texts to images.

    Args:
        parts: prior, decoder, text_encoder, tokenizer, text_proj, super_res_first, super_res_last, prior_scheduler,
            decoder_scheduler, super_res_scheduler.

    Raises:
        ArgumentError: parts that do not fit each other.
    """

    names = ("prior", *DRAWING, "prior_scheduler")
    kinds = ("UnCLIPPipeline",)
    source = "prior", "embedding_dim"

    def __call__(self, prompt, num_images=1, prior_steps=25, steps=25, super_res_steps=7, prior_guidance=4.0,
                 guidance=8.0, seed=None, truncation=False, callback=None, noise=None):
        """Draw images.

        Args:
            prompt: what to draw; a string, or a list of them.
            num_images: of each prompt.
            prior_steps, steps, super_res_steps: of the schedulers of prior, decoder and super-resolution.
            prior_guidance, guidance: how much prior and decoder exaggerate the text; 1: not at all.
            seed: an integer, for the first image, and the following ones for the others; or a list; None: drawn.
            truncation: cut prompts that are too long.
            callback: called after each step with (stage, number of steps done, of all, x).
            noise: in place of seeds, a function: shape -> (N, *shape).

        Returns:
            (N, H, W, 3), uint8; images of one prompt lie together.

        Raises:
            ArgumentError: a prompt is longer than the text encoder reads; numbers out of range.
        """
        prompts = repeated(prompt, number("UnCLIP", "num_images", num_images, 1, whole=True))
        noise = self._noise(noise, seed, len(prompts))
        with no_grad():
            embeds, states, mask = texts = self.encode(prompts, truncation)

            def network(x, t):
                output = self.prior(ops.concat([x, x]), float(t), embeds, states, mask)
                return guided(output, prior_guidance, x.shape[1])

            vectors = self._sample(network, self.prior_scheduler, prior_steps, (self.prior.config.embedding_dim,),
                                   noise, callback, "prior")
            return self.draw(self.prior.post_process_latents(vectors), texts, guidance, steps, super_res_steps, noise,
                             callback)


class UnCLIPVariations(_Drawing):
    """Images to others with the same meaning. Paper: section 3.1.

    Args:
        parts: decoder, text_encoder, tokenizer, text_proj, image_encoder, super_res_first, super_res_last,
            decoder_scheduler, super_res_scheduler.

    Raises:
        ArgumentError: parts that do not fit each other.
    """

    names = (*DRAWING, "image_encoder")
    kinds = ("UnCLIPImageVariationPipeline",)
    source = "image_encoder", "projection_dim"

    def __call__(self, image, num_images=1, steps=25, super_res_steps=7, guidance=8.0, seed=None, callback=None,
                 noise=None):
        """Draw variations; arguments and result as of UnCLIP.

        Args:
            image (H, W, 3): uint8.
        """
        count = number("UnCLIPVariations", "num_images", num_images, 1, whole=True)
        size = self.image_encoder.config.image_size
        pixels = replace(INPUTS, size=size, resize=size)(image)
        noise = self._noise(noise, seed, count)
        with no_grad():
            vectors = self.image_encoder(Tensor(pixels[None]).to(self.device).astype(self.dtype)).image_embeds
            vectors = ops.broadcast_to(vectors, (count, vectors.shape[1]))
            return self.draw(vectors, self.encode([""] * count, False), guidance, steps, super_res_steps, noise,
                             callback)
