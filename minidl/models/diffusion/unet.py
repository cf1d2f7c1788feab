"""The networks that take noise away: a U of residual blocks with attention, told the time and what to draw.

Source: Ho et al. 2020, arXiv:2006.11239, appendix B; Rombach et al. 2021, "High-Resolution Image Synthesis with Latent
Diffusion Models", arXiv:2112.10752 (text through cross attention); Nichol et al. 2021, "GLIDE", arXiv:2112.10741, and
Ramesh et al. 2022, arXiv:2204.06125 (text in front of the pixels).
Differs from the papers: nothing; names and settings are those of diffusers' UNet2DConditionModel and UNet2DModel.

    x_t (N,C,H,W), t (N) -> convolution -> stages down, /2 each -> middle -> stages up, each beside what came down
    -> norm, SiLU, convolution -> noise (N,O,H,W)
"""
from dataclasses import dataclass
from typing import ClassVar

from ... import nn, ops
from ...errors import ArgumentError, ShapeError, message, number
from ..config import ModelConfig
from ..model import Model
from ..registry import family
from .blocks import (
    Downsample,
    ResnetBlock,
    SpatialAttention,
    TimestepEmbedding,
    Transformer2D,
    Upsample,
    spatial_rows,
    times,
    timestep_embedding,
    transformer_rows,
)

# Types of stages: (kind of attention, does a residual block change the size rather than a convolution?).
STAGES = {"{}Block2D": (None, False), "CrossAttn{}Block2D": ("transformer", False),
          "Attn{}Block2D": ("spatial", False), "Resnet{}sampleBlock2D": (None, True),
          "SimpleCrossAttn{}Block2D": ("added", True)}
DOWN = {name.format("Down"): kind for name, kind in STAGES.items()}
UP = {name.format("Up"): kind for name, kind in STAGES.items()}
MIDDLE = {"UNetMidBlock2D": "spatial", "UNetMidBlock2DCrossAttn": "transformer",
          "UNetMidBlock2DSimpleCrossAttn": "added"}


@dataclass(frozen=True)
class UNetConfig(ModelConfig):
    """Sizes of a UNet, under the names of diffusers' config.json.

    Args:
        sample_size: height and width that it was trained for.
        in_channels, out_channels: of the image, or the latents.
        block_out_channels, down_block_types, up_block_types, mid_block_type: of the stages.
        layers_per_block: residual blocks of a stage down; a stage up has one more.
        attention_head_dim, num_attention_heads: channels of a head; of CrossAttn stages, for history's sake, and
            wherever the other is not given, how many heads there are. A number, or one a stage.
        cross_attention_dim: width of the sequence that tells what to draw.
        transformer_layers_per_block, use_linear_projection: see blocks.Transformer2D.
        norm_num_groups, norm_eps: of the norms.
        resnet_time_scale_shift: "default", the time is added; "scale_shift".
        flip_sin_to_cos, freq_shift: of the time's embedding.
        time_embedding_dim: its width; None: 4 times the first stage's.
        class_embed_type, num_class_embeds: "identity": vectors that are added to the time's embedding; or a table
            of so many classes; None: neither.
        downsample_padding: 1, or 0: behind only.
        add_attention: of a middle without a sequence.
        dropout: in the residual blocks.
    """

    sample_size: int | None = None
    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple = (320, 640, 1280, 1280)
    down_block_types: tuple = (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D")
    up_block_types: tuple = ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3)
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    layers_per_block: int = 2
    attention_head_dim: int | tuple | None = 8
    num_attention_heads: int | tuple | None = None
    cross_attention_dim: int | None = 1280
    transformer_layers_per_block: int = 1
    use_linear_projection: bool = False
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    resnet_time_scale_shift: str = "default"
    flip_sin_to_cos: bool = True
    freq_shift: float = 0
    time_embedding_dim: int | None = None
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    downsample_padding: int = 1
    add_attention: bool = True
    dropout: float = 0.0

    # settings of diffusers that have one value here: others are refused
    fixed: ClassVar[dict] = {
        "act_fn": ("silu",), "time_embedding_type": ("positional",), "conv_in_kernel": (3,), "conv_out_kernel": (3,),
        "attention_type": ("default",), "downsample_type": ("conv",), "upsample_type": ("conv",),
        "mid_block_scale_factor": (1, 1.0), "resnet_out_scale_factor": (1, 1.0)}
    foreign: ClassVar[tuple] = ("labels", "upcast_attention", "addition_embed_type_num_heads", "num_train_timesteps")

    def __post_init__(self):
        for name, known in (("down_block_types", DOWN), ("up_block_types", UP)):
            if wrong := [kind for kind in getattr(self, name) if kind not in known]:
                raise ArgumentError(message("UNetConfig", name, f"of {', '.join(known)}", repr(wrong[0])))
        if self.mid_block_type not in (None, *MIDDLE):
            raise ArgumentError(message("UNetConfig", "mid_block_type", f"one of {', '.join(MIDDLE)}",
                                        repr(self.mid_block_type)))
        sizes = {len(x) for x in (self.block_out_channels, self.down_block_types, self.up_block_types)}
        if len(sizes) != 1:
            raise ArgumentError(message("UNetConfig", "block_out_channels, down_block_types, up_block_types",
                                        "as many of each", sizes))
        for name in ("layers_per_block", "transformer_layers_per_block"):
            number("UNetConfig", name, getattr(self, name), 1, whole=True)
        if self.sample_size is not None:
            number("UNetConfig", "sample_size", self.sample_size, 1, whole=True)
        for name in ("attention_head_dim", "num_attention_heads"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) not in sizes:
                raise ArgumentError(message("UNetConfig", name, "a number, or one a stage", value))
        if self.class_embed_type not in (None, "identity") or self.resnet_time_scale_shift not in (
                "default", "scale_shift"):
            raise ArgumentError(message("UNetConfig", "class_embed_type, resnet_time_scale_shift",
                                        "None or identity, default or scale_shift",
                                        (self.class_embed_type, self.resnet_time_scale_shift)))

    @property
    def num_classes(self):
        """Classes that it can be told, none not among them."""
        return max((self.num_class_embeds or 0) - 1, 0)

    @property
    def time_width(self):
        """Of the time's embedding."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    def heads(self, stage, channels, kind):
        """How many heads attention has at a stage, by its kind."""
        told = self.num_attention_heads if kind == "transformer" and self.num_attention_heads is not None \
            else self.attention_head_dim
        told = told[stage] if isinstance(told, tuple) else told
        if kind == "transformer":
            return told
        return channels // told if told else 1

    @classmethod
    def from_hf(cls, told):
        """From diffusers' config.json.

        Raises:
            ArgumentError: it asks for what is not here.
        """
        names = cls.__dataclass_fields__
        own = {name: value for name, value in told.items() if name in names}
        rest = {name: value for name, value in told.items() if name not in (*names, *cls.foreign) and name[0] != "_"}
        wrong = [f"{name}={value!r}" for name, value in rest.items()
                 if value not in cls.fixed.get(name, (None, False))]
        if wrong:
            raise ArgumentError(message(cls.__name__, "config.json", "settings that are here", ", ".join(wrong)))
        return cls.from_dict(own)


@dataclass(frozen=True)
class UNet2DConditionConfig(UNetConfig):
    """Of a network that is told what to draw by a sequence."""

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(8, 3, 3, (8, 8, 8), ("CrossAttnDownBlock2D", "SimpleCrossAttnDownBlock2D", "DownBlock2D"),
                   ("ResnetUpsampleBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1,
                   attention_head_dim=4, cross_attention_dim=6, norm_num_groups=2, class_embed_type="identity")


@dataclass(frozen=True)
class UNet2DConfig(UNetConfig):
    """Of a network that is told the time, and perhaps a class."""

    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple = (224, 448, 672, 896)
    down_block_types: tuple = ("DownBlock2D", *("AttnDownBlock2D",) * 3)
    up_block_types: tuple = (*("AttnUpBlock2D",) * 3, "UpBlock2D")
    mid_block_type: str | None = "UNetMidBlock2D"
    cross_attention_dim: int | None = None

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(8, 3, 3, (8, 8), ("ResnetDownsampleBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D"),
                   layers_per_block=1, attention_head_dim=4, norm_num_groups=2, num_class_embeds=4,
                   resnet_time_scale_shift="scale_shift")


class Stage(nn.Module):
    """Residual blocks, attention behind each, and a change of size at the end.

    Args:
        config: of the network.
        level: which of its sizes this is, 0 the first.
        kind: of attention: None, "transformer", "spatial", "added".
        channels: of the blocks' inputs, and behind each.
        resampler: "downsamplers" or "upsamplers", and the module; or None.
    """

    def __init__(self, config, level, kind, channels, resampler=None):
        self.resnets = nn.ModuleList(block(config, a, channels[-1]) for a in channels[:-1])
        self.attends = kind is not None
        if self.attends:
            self.attentions = nn.ModuleList(attention(config, level, kind, channels[-1]) for _ in self.resnets)
        self._resampler = resampler and resampler[0]
        if resampler:
            setattr(self, resampler[0], nn.ModuleList([resampler[1]]))

    @property
    def resample(self):
        """The module that changes the size, or None."""
        return getattr(self, self._resampler)[0] if self._resampler else None

    def layer(self, i, x, time, context, mask):
        """Block i, and its attention."""
        x = self.resnets[i](x, time)
        return attended(self.attentions[i], x, context, mask) if self.attends else x


class DownStage(Stage):
    """A Stage on the way down."""

    def forward(self, x, time, context=None, mask=None):
        """x (N, C, H, W) -> [the output of each block, and of the change of size]."""
        found = [x]
        for i in range(len(self.resnets)):
            found.append(self.layer(i, found[-1], time, context, mask))
        if self.resample is not None:
            found.append(self.resample(found[-1], time))
        return found[1:]


class UpStage(Stage):
    """A Stage on the way up: each block sees what came down beside its input."""

    def forward(self, x, skips, time, context=None, mask=None):
        """x (N, C, H, W), skips: a list, from whose end what is used is taken -> (N, O, 2H, 2W)."""
        for i in range(len(self.resnets)):
            x = self.layer(i, ops.concat([x, skips.pop()], 1), time, context, mask)
        if self.resample is None:
            return x
        if isinstance(self.resample, Upsample):        # (sizes that are not even: as large as what is beside it)
            return self.resample(x, skips[-1].shape[2:])
        return self.resample(x, time)


class MidStage(nn.Module):
    """A residual block, attention unless it is left out, and another block."""

    def __init__(self, config):
        c, channels = config, config.block_out_channels[-1]
        kind = MIDDLE[c.mid_block_type]
        self.resnets = nn.ModuleList(block(c, channels, channels) for _ in range(2))
        self.attends = kind != "spatial" or c.add_attention
        if self.attends:
            self.attentions = nn.ModuleList([attention(c, len(c.block_out_channels) - 1, kind, channels)])

    def forward(self, x, time, context=None, mask=None):
        """x (N, C, H, W) -> the same shape."""
        x = self.resnets[0](x, time)
        return self.resnets[1](attended(self.attentions[0], x, context, mask) if self.attends else x, time)


def block(config, inputs, outputs, resample=None):
    """A residual block."""
    c = config
    return ResnetBlock(inputs, outputs, c.time_width, c.norm_num_groups, c.norm_eps,
                       c.resnet_time_scale_shift == "scale_shift", resample, c.dropout)


def attention(config, level, kind, channels):
    """The module for attention of a kind at a level."""
    c, heads = config, config.heads(level, channels, kind)
    if kind == "transformer":
        return Transformer2D(channels, heads, c.norm_num_groups, c.cross_attention_dim, c.transformer_layers_per_block,
                             c.use_linear_projection)
    return SpatialAttention(channels, heads, c.norm_num_groups, c.norm_eps,
                            c.cross_attention_dim if kind == "added" else None)


def attended(module, x, context, mask):
    """Attention, to a sequence where the module looks at one."""
    if isinstance(module, SpatialAttention) and module.added is None:
        return module(x)
    return module(x, context, mask)


PLACES = "down_blocks.{i}.attentions.{j}.", "up_blocks.{i}.attentions.{j}.", "mid_block.attentions.{j}."
DIFFUSERS = tuple(row for place in PLACES for rows in (transformer_rows, spatial_rows) for row in rows(place))


class UNet(Model):
    """The network of the module's docstring, of either class."""

    layouts: dict = {"diffusers": DIFFUSERS}

    def __init__(self, config):
        c = self.config = config
        first, levels = c.block_out_channels[0], len(c.block_out_channels)
        self.conv_in = nn.Conv2d(c.in_channels, first, 3, padding=1)
        self.time_embedding = TimestepEmbedding(first, c.time_width)
        if c.num_class_embeds and c.class_embed_type is None:
            self.class_embedding = nn.Embedding(c.num_class_embeds, c.time_width)
        widths = [first, *c.block_out_channels]
        self.down_blocks = nn.ModuleList(self._down(level, widths[level], out, level == levels - 1)
                                         for level, out in enumerate(c.block_out_channels))
        self.mid_block = MidStage(c) if c.mid_block_type else None
        ways = list(zip(range(levels), c.block_out_channels[::-1], [*c.block_out_channels[::-1][1:], first]))
        before = [c.block_out_channels[-1], *c.block_out_channels[::-1]]
        self.up_blocks = nn.ModuleList(self._up(i, before[i], out, behind, i == levels - 1) for i, out, behind in ways)
        self.conv_norm_out = nn.GroupNorm(c.norm_num_groups, first, c.norm_eps)
        self.conv_out = nn.Conv2d(first, c.out_channels, 3, padding=1)

    def _down(self, level, inputs, outputs, last):
        c, (kind, resnet) = self.config, DOWN[self.config.down_block_types[level]]
        channels = [inputs, *[outputs] * c.layers_per_block]
        if last:
            return DownStage(c, level, kind, channels)
        half = block(c, outputs, outputs, "down") if resnet else Downsample(outputs, c.downsample_padding)
        return DownStage(c, level, kind, channels, ("downsamplers", half))

    def _up(self, i, inputs, outputs, behind, last):
        """Stage i up; its last block stands beside what entered the level on the way down, `behind` channels."""
        c, (kind, resnet) = self.config, UP[self.config.up_block_types[i]]
        sides = [*[outputs] * c.layers_per_block, behind]
        channels = [a + b for a, b in zip([inputs, *[outputs] * c.layers_per_block], sides)] + [outputs]
        level = len(c.block_out_channels) - 1 - i
        if last:
            return UpStage(c, level, kind, channels)
        twice = block(c, outputs, outputs, "up") if resnet else Upsample(outputs)
        return UpStage(c, level, kind, channels, ("upsamplers", twice))

    def _time(self, sample, timestep, class_labels):
        """The embedding (N, E) of the time, and of the class."""
        c = self.config
        time = times(type(self).__name__, timestep, sample)
        waves = timestep_embedding(time, c.block_out_channels[0], c.flip_sin_to_cos, c.freq_shift)
        told = self.time_embedding(waves.astype(sample.dtype))
        if not (c.class_embed_type or c.num_class_embeds):
            return told
        if class_labels is None:
            raise ArgumentError(message(type(self).__name__, "class_labels", "what this network is told", "none"))
        return told + (class_labels if c.class_embed_type else self.class_embedding(class_labels))

    def denoise(self, sample, timestep, context, class_labels, mask):
        """What both classes' `forward` gives."""
        c = self.config
        if sample.ndim != 4 or sample.shape[1] != c.in_channels:
            raise ShapeError(message(type(self).__name__, "sample", f"(N, {c.in_channels}, H, W)", sample.shape))
        time, x = self._time(sample, timestep, class_labels), self.conv_in(sample)
        skips = [x]
        for stage in self.down_blocks:
            skips += stage(skips[-1], time, context, mask)
        x = skips[-1] if self.mid_block is None else self.mid_block(skips[-1], time, context, mask)
        for stage in self.up_blocks:
            x = stage(x, skips, time, context, mask)
        return self.conv_out(ops.silu(self.conv_norm_out(x)))

    def describe_config(self):
        """What diffusers' config.json holds."""
        return {"_class_name": self.architectures[0], **self.config.to_dict(),
                **({"labels": list(self.labels)} if self.labels else {})}


def compvis(config):
    """The names in Stable Diffusion's own files, without their prefix, "model.diffusion_model."; see single_file."""
    c, last = config, len(config.block_out_channels) - 1
    rows: list = [("time_embed.0.*", "time_embedding.linear_1.*"), ("time_embed.2.*", "time_embedding.linear_2.*"),
                  ("input_blocks.0.0.*", "conv_in.*"), ("out.0.*", "conv_norm_out.*"), ("out.2.*", "conv_out.*"),
                  *_block("middle_block.0.", "mid_block.resnets.0."),
                  *_block("middle_block.2.", "mid_block.resnets.1."),
                  *_transformer("middle_block.1.", "mid_block.attentions.0.")]
    n = 1
    for i in range(last + 1):
        for j in range(c.layers_per_block):
            rows += _layer(f"input_blocks.{n}.", f"down_blocks.{i}.", j)
            n += 1
        if i < last:
            rows.append((f"input_blocks.{n}.0.op.*", f"down_blocks.{i}.downsamplers.0.conv.*"))
            n += 1
    n = 0
    for i, kind in enumerate(c.up_block_types):
        for j in range(c.layers_per_block + 1):
            rows += _layer(f"output_blocks.{n}.", f"up_blocks.{i}.", j)
            n += 1
        if i < last:                                   # (behind the last layer of the stage)
            place = 1 + (UP[kind][0] is not None)
            rows.append((f"output_blocks.{n - 1}.{place}.conv.*", f"up_blocks.{i}.upsamplers.0.conv.*"))
    return rows


def _layer(official, ours, j):
    return [*_block(official + "0.", f"{ours}resnets.{j}."), *_transformer(official + "1.", f"{ours}attentions.{j}.")]


def _block(official, ours):
    names = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
             "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}
    return [(f"{official}{a}.*", f"{ours}{b}.*") for a, b in names.items()]


def _transformer(official, ours):
    same = "norm", "proj_in", "proj_out", *(f"transformer_blocks.{{k}}.norm{n}" for n in (1, 2, 3))
    return [*transformer_rows(official, ours), *((f"{official}{name}.*", f"{ours}{name}.*") for name in same)]


class UNet2DConditionModel(UNet):
    """Told what to draw by a sequence: Stable Diffusion's network, and unCLIP's decoder."""

    config_class = UNet2DConditionConfig
    layouts = {"diffusers": DIFFUSERS, "compvis": compvis}
    architectures = ("UNet2DConditionModel",)

    def forward(self, sample, timestep, encoder_hidden_states, class_labels=None, attention_mask=None):
        """What the scheduler's prediction_type says of x_t.

        Args:
            sample (N, C, H, W): x_t.
            timestep: a number, or (N).
            encoder_hidden_states (N, S, D): what to draw.
            class_labels (N, E), where the config says so: added to the time's embedding.
            attention_mask (N, S): bool, True where the sequence counts; None: everywhere.

        Returns:
            (N, O, H, W).

        Raises:
            ShapeError: the sample has other channels, or the sequence another width.
        """
        width, got = self.config.cross_attention_dim, getattr(encoder_hidden_states, "shape", None)
        if got is None or len(got) != 3 or got[2] != width:
            raise ShapeError(message("UNet2DConditionModel", "encoder_hidden_states", f"(N, S, {width})", got))
        return self.denoise(sample, timestep, encoder_hidden_states, class_labels, attention_mask)


class UNet2DModel(UNet):
    """Told the time, and perhaps a class: DDPM's network, and unCLIP's super-resolution."""

    config_class = UNet2DConfig
    architectures = ("UNet2DModel",)

    def forward(self, sample, timestep, class_labels=None):
        """What the scheduler's prediction_type says of x_t.

        Args:
            sample (N, C, H, W): x_t.
            timestep: a number, or (N).
            class_labels (N): integers, where the config has classes.

        Returns:
            (N, O, H, W).

        Raises:
            ShapeError: the sample has other channels.
        """
        return self.denoise(sample, timestep, None, class_labels, None)


conditioned = family(UNet2DConditionModel, "image-generation", "Rombach et al. 2021, arXiv:2112.10752")
decoder, resolver = (family(kind, "image-generation", "Ramesh et al. 2022, arXiv:2204.06125")
                     for kind in (UNet2DConditionModel, UNet2DModel))
plain = family(UNet2DModel, "image-generation", "Ho et al. 2020, arXiv:2006.11239")


@conditioned("sd15/unet", name="stable-diffusion-1.5.unet")
def stable_diffusion_unet():
    """Of Stable Diffusion 1.x."""
    return UNet2DConditionConfig(64, cross_attention_dim=768)


@decoder("karlo/decoder", name="karlo.decoder")
def karlo_decoder():
    """unCLIP's decoder, 64 pixels."""
    return UNet2DConditionConfig(
        64, 3, 6, (320, 640, 960, 1280), ("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
        (*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"), "UNetMidBlock2DSimpleCrossAttn", 3,
        attention_head_dim=64, cross_attention_dim=1536, resnet_time_scale_shift="scale_shift",
        class_embed_type="identity")


@resolver("karlo/super_res", name="karlo.super-resolution")
def karlo_super_resolution():
    """unCLIP's second network, from 64 to 256 pixels."""
    return UNet2DConfig(256, 6, 3, (320, 640, 960, 1280), ("ResnetDownsampleBlock2D",) * 4,
                        ("ResnetUpsampleBlock2D",) * 4, layers_per_block=3, add_attention=False,
                        resnet_time_scale_shift="scale_shift")


@plain()
def ddpm():
    """Small enough to train on two cores: 28 pixels, ten classes and none."""
    return UNet2DConfig(28, 1, 1, (32, 64, 64), ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                        ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), layers_per_block=1, attention_head_dim=16,
                        norm_num_groups=8, num_class_embeds=11, resnet_time_scale_shift="scale_shift")
