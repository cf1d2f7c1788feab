"""The autoencoder of Stable Diffusion: images to latents an eighth as high and wide, and back.

Source: Rombach et al. 2021, "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv:2112.10752, section
3.1, appendix G; Kingma, Welling 2013, arXiv:1312.6114 (a Gaussian for each latent).
Differs from the paper: nothing; names and settings are those of diffusers' AutoencoderKL.

    image (N,3,H,W) -> convolution -> stages, /2 each -> attention -> means, log variances (N,4,H/8,W/8)
    latents (N,4,H/8,W/8) -> attention -> stages, *2 each -> norm, SiLU, convolution -> image (N,3,H,W)
"""
from dataclasses import dataclass

from ... import nn, ops
from ...errors import ArgumentError, ShapeError, message
from ..config import ModelConfig
from ..model import Model
from ..registry import family
from .blocks import Downsample, ResnetBlock, SpatialAttention, Upsample, spatial_rows

EPS = 1e-6
LEAST, MOST = -30.0, 20.0          # logarithms of variances


@dataclass(frozen=True)
class AutoencoderConfig(ModelConfig):
    """Sizes of an autoencoder, under the names of diffusers' config.json.

    Args:
        in_channels, out_channels, latent_channels: of images, and latents.
        block_out_channels, layers_per_block: of the stages; the decoder's have a layer more.
        norm_num_groups: of the norms.
        sample_size: height and width that it was trained for.
        scaling_factor: what latents are multiplied by before noise is added to them.
    """

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    sample_size: int = 512
    scaling_factor: float = 0.18215

    @property
    def factor(self):
        """How many pixels a latent is high and wide."""
        return 2 ** (len(self.block_out_channels) - 1)

    @classmethod
    def from_hf(cls, told):
        """From diffusers' config.json.

        Raises:
            ArgumentError: it asks for what is not here.
        """
        stages = {*told.get("down_block_types", ()), *told.get("up_block_types", ())}
        wrong = sorted(stages - {"DownEncoderBlock2D", "UpDecoderBlock2D"})
        fixed = {"act_fn": ("silu",), "shift_factor": (None, 0), "use_quant_conv": (True,),
                 "use_post_quant_conv": (True,), "mid_block_add_attention": (True,)}
        wrong += [f"{name}={told[name]!r}" for name, known in fixed.items() if told.get(name, known[0]) not in known]
        if wrong:
            raise ArgumentError(message("AutoencoderKL", "config.json", "DownEncoderBlock2D, UpDecoderBlock2D, silu, "
                                        "no shift_factor, quant_conv, attention", ", ".join(wrong)))
        return cls.from_dict({name: told[name] for name in cls.__dataclass_fields__ if name in told})

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, sample_size=8)


def block(config, inputs, outputs):
    """A residual block that is not told any time."""
    return ResnetBlock(inputs, outputs, None, config.norm_num_groups, EPS)


class Stage(nn.Module):
    """Residual blocks, and a change of size under the name that checkpoints have for it."""

    def __init__(self, config, inputs, outputs, layers, resampler=None):
        self.resnets = nn.ModuleList(block(config, inputs if i == 0 else outputs, outputs) for i in range(layers))
        self._resampler = resampler and resampler[0]
        if resampler:
            setattr(self, resampler[0], nn.ModuleList([resampler[1]]))

    def forward(self, x):
        """x (N, C, H, W) -> (N, O, H', W')."""
        for resnet in self.resnets:
            x = resnet(x)
        return getattr(self, self._resampler)[0](x) if self._resampler else x


class MidStage(nn.Module):
    """A residual block, attention with one head, and another block."""

    def __init__(self, config, channels):
        self.resnets = nn.ModuleList(block(config, channels, channels) for _ in range(2))
        self.attentions = nn.ModuleList([SpatialAttention(channels, 1, config.norm_num_groups, EPS)])

    def forward(self, x):
        """x (N, C, H, W) -> the same shape."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    """Images to the means and log variances of latents."""

    def __init__(self, config):
        c, widths = config, config.block_out_channels
        self.conv_in = nn.Conv2d(c.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Stage(c, a, b, c.layers_per_block, ("downsamplers", Downsample(b, 0)) if i < len(widths) - 1 else None)
            for i, (a, b) in enumerate(zip((widths[0], *widths), widths)))
        self.mid_block = MidStage(c, widths[-1])
        self.conv_norm_out = nn.GroupNorm(c.norm_num_groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * c.latent_channels, 3, padding=1)

    def forward(self, image):
        """image (N, C, H, W) -> (N, 2 * latent_channels, H / factor, W / factor)."""
        x = self.conv_in(image)
        for stage in self.down_blocks:
            x = stage(x)
        return self.conv_out(ops.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """Latents to images."""

    def __init__(self, config):
        c, widths = config, config.block_out_channels[::-1]
        self.conv_in = nn.Conv2d(c.latent_channels, widths[0], 3, padding=1)
        self.mid_block = MidStage(c, widths[0])
        self.up_blocks = nn.ModuleList(
            Stage(c, a, b, c.layers_per_block + 1, ("upsamplers", Upsample(b)) if i < len(widths) - 1 else None)
            for i, (a, b) in enumerate(zip((widths[0], *widths), widths)))
        self.conv_norm_out = nn.GroupNorm(c.norm_num_groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], c.out_channels, 3, padding=1)

    def forward(self, latents):
        """latents (N, latent_channels, h, w) -> (N, C, h * factor, w * factor)."""
        x = self.mid_block(self.conv_in(latents))
        for stage in self.up_blocks:
            x = stage(x)
        return self.conv_out(ops.silu(self.conv_norm_out(x)))


# Layers on pixels are convolutions in older files: these add and take their two axes of length 1.
FILTERS = (lambda array: array[:, :, 0, 0]), (lambda array: array[:, :, None, None])
MIDDLES = "encoder.mid_block.attentions.{j}.", "decoder.mid_block.attentions.{j}."


def compvis(config):
    """The names in Stable Diffusion's own files, without their prefix, "first_stage_model."; see single_file."""
    stages, rows = len(config.block_out_channels), []
    for side in ("encoder", "decoder"):
        at, mid, ours = f"{side}.mid.", f"{side}.mid.attn_1.", f"{side}.mid_block."
        names = {at + "block_1": ours + "resnets.0", at + "block_2": ours + "resnets.1", mid + "norm":
                 ours + "attentions.0.group_norm", f"{side}.norm_out": f"{side}.conv_norm_out"}
        rows += [*((f"{a}.*", f"{b}.*") for a, b in names.items()),
                 (mid + "[q|k|v].weight", ours + "attentions.0.qkv.weight", FILTERS),
                 (mid + "[q|k|v].bias", ours + "attentions.0.qkv.bias"),
                 (mid + "proj_out.weight", ours + "attentions.0.out.weight", FILTERS),
                 (mid + "proj_out.bias", ours + "attentions.0.out.bias")]
    for i in range(stages):
        for theirs, own in ((f"encoder.down.{i}", f"encoder.down_blocks.{i}"),
                            (f"decoder.up.{stages - 1 - i}", f"decoder.up_blocks.{i}")):
            rows += [(f"{theirs}.block.{{j}}.{a}.*", f"{own}.resnets.{{j}}.{b}.*") for a, b in (
                ("nin_shortcut", "conv_shortcut"), *((name, name) for name in ("norm1", "conv1", "norm2", "conv2")))]
            rows += [(f"{theirs}.downsample.conv.*", f"{own}.downsamplers.0.conv.*"),
                     (f"{theirs}.upsample.conv.*", f"{own}.upsamplers.0.conv.*")]
    return rows


class AutoencoderKL(Model):
    """The network of the module's docstring."""

    config_class = AutoencoderConfig
    layouts = {"diffusers": tuple(row for place in MIDDLES for row in spatial_rows(place)), "compvis": compvis}
    architectures = ("AutoencoderKL",)

    def __init__(self, config):
        c = self.config = config
        self.encoder, self.decoder = Encoder(c), Decoder(c)
        self.quant_conv = nn.Conv2d(2 * c.latent_channels, 2 * c.latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(c.latent_channels, c.latent_channels, 1)

    def encode(self, image):
        """(means, log variances) of latents, each (N, latent_channels, H / factor, W / factor).

        Args:
            image (N, C, H, W): in [-1, 1].

        Raises:
            ShapeError: the image has other channels, or sides that are no multiples of `config.factor`.
        """
        c = self.config
        if image.ndim != 4 or image.shape[1] != c.in_channels or image.shape[2] % c.factor or image.shape[3] % c.factor:
            expected = f"(N, {c.in_channels}, H, W), H and W multiples of {c.factor}"
            raise ShapeError(message("AutoencoderKL", "image", expected, image.shape))
        mean, log_variance = ops.chunk(self.quant_conv(self.encoder(image)), 2, axis=1)
        return mean, ops.clip(log_variance, LEAST, MOST)

    def decode(self, latents):
        """latents (N, latent_channels, h, w), not scaled -> image (N, C, h * factor, w * factor), about [-1, 1].

        Raises:
            ShapeError: the latents have other channels.
        """
        channels = self.config.latent_channels
        if latents.ndim != 4 or latents.shape[1] != channels:
            raise ShapeError(message("AutoencoderKL", "latents", f"(N, {channels}, h, w)", latents.shape))
        return self.decoder(self.post_quant_conv(latents))

    def forward(self, sample):
        """sample (N, C, H, W) -> what comes back of it by way of the means, likewise."""
        return self.decode(self.encode(sample)[0])

    def describe_config(self):
        """What diffusers' config.json holds."""
        stages = len(self.config.block_out_channels)
        return {"_class_name": "AutoencoderKL", **self.config.to_dict(), "act_fn": "silu",
                "down_block_types": ["DownEncoderBlock2D"] * stages, "up_block_types": ["UpDecoderBlock2D"] * stages}


@family(AutoencoderKL, "image-generation", "Rombach et al. 2021, arXiv:2112.10752")(
    "sd15/vae", name="stable-diffusion-1.5.vae")
def stable_diffusion_vae():
    """Of Stable Diffusion 1.x."""
    return AutoencoderConfig()
