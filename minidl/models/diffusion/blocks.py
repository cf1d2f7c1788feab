"""What denoising networks and autoencoders of images are made of: residual blocks, attention, changes of size.

Source: Ho et al. 2020, arXiv:2006.11239, appendix B; Dhariwal, Nichol 2021, arXiv:2105.05233, section 3 (scale and
shift, blocks that change the size); Rombach et al. 2021, arXiv:2112.10752, appendix E (transformers).
"""
import math

import numpy as np

from ... import nn, ops
from ...errors import ShapeError, message
from ...tensor import Tensor
from ..text.attention import CrossAttention, SelfAttention, merge, split


def times(op, timestep, like):
    """Timesteps (N) of `like` (N, ...): of a number, which is everyone's, or of (N).

    Raises:
        ShapeError: there are others than N.
    """
    found = timestep if isinstance(timestep, Tensor) else Tensor(np.asarray(timestep, np.float32)).to(like.device)
    found = found.reshape((-1,))
    if len(found) not in (1, len(like)):
        raise ShapeError(message(op, "timestep", f"a number, or ({len(like)},)", timestep))
    return ops.broadcast_to(found, (len(like),))


def timestep_embedding(timesteps, width, flip=True, shift=0.0):
    """Sines and cosines of timesteps at all frequencies.

    Args:
        timesteps (N): integers or floats.
        width: of the result, even.
        flip: cosines first.
        shift: subtracted from the number of frequencies, to reach the lowest, 1/10000, or not.

    Returns:
        (N, width), float32.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5; Ho et al. 2020, appendix B.
    """
    half = width // 2
    frequencies = np.exp(-math.log(10000) * np.arange(half, dtype=np.float32) / np.float32(half - shift))
    angles = timesteps.astype("float32")[:, None] * Tensor(frequencies.astype(np.float32)).to(timesteps.device)
    parts = [ops.sin(angles), ops.cos(angles)]
    return ops.concat(parts[::-1] if flip else parts, -1)


class TimestepEmbedding(nn.Module):
    """Two layers on the sines and cosines of a timestep."""

    def __init__(self, inputs, width, outputs=None):
        self.linear_1, self.linear_2 = nn.Linear(inputs, width), nn.Linear(width, outputs or width)

    def forward(self, x):
        """x (N, I) -> (N, O)."""
        return self.linear_2(self.linear_1(x, "silu"))


class ResnetBlock(nn.Module):
    """Two convolutions, each behind a norm and SiLU, and around them the input.

    Args:
        inputs, outputs: channels.
        time: width of the timestep's embedding; None: it is not told the time.
        groups, eps: of the norms.
        scale_shift: the time scales and shifts what the second norm gives, rather than being added in front of it.
        resample: "up" or "down": change the size to twice or half; None.
        dropout: in front of the second convolution.
    """

    def __init__(self, inputs, outputs, time, groups, eps, scale_shift=False, resample=None, dropout=0.0):
        self.norm1, self.norm2 = nn.GroupNorm(groups, inputs, eps), nn.GroupNorm(groups, outputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, outputs * (1 + scale_shift)) if time else None
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None
        self.scale_shift, self.resample, self.dropout = scale_shift, resample, nn.Dropout(dropout)

    def _resampled(self, x):
        if self.resample is None:
            return x
        return ops.interpolate(x, scale_factor=2) if self.resample == "up" else ops.avg_pool2d(x, 2)

    def forward(self, x, time=None):
        """x (N, I, H, W), time (N, E), the embedding -> (N, O, H, W)."""
        y = self.conv1(self._resampled(ops.silu(self.norm1(x))))
        x = self._resampled(x)
        if self.time_emb_proj is None:
            y = self.norm2(y)
        else:
            told = self.time_emb_proj(ops.silu(time))[:, :, None, None]
            if self.scale_shift:
                scale, shift = ops.chunk(told, 2, axis=1)
                y = self.norm2(y) * (scale + 1.0) + shift
            else:
                y = self.norm2(y + told)
        y = self.conv2(self.dropout(ops.silu(y)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + y


class Downsample(nn.Module):
    """Half the size, by a convolution; padded on all sides, or only behind."""

    def __init__(self, channels, padding=1):
        self.conv, self.padding = nn.Conv2d(channels, channels, 3, 2, padding), padding

    def forward(self, x, time=None):
        """x (N, C, H, W) -> (N, C, H / 2, W / 2), rounded up."""
        return self.conv(x if self.padding else ops.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1))))


class Upsample(nn.Module):
    """Twice the size, or another, by repeating pixels and a convolution."""

    def __init__(self, channels):
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, size=None):
        """x (N, C, H, W) -> (N, C, 2H, 2W), or of `size`."""
        options = {"scale_factor": 2} if size is None else {"size": size}
        return self.conv(ops.interpolate(x, **options))


class SpatialAttention(nn.Module):
    """Every pixel looks at all pixels, and at a sequence, if there is one; added to its input.

    Args:
        channels, heads, groups, eps: of the input, of attention, of the norm.
        context: width of the sequence; None: there is none. Nichol et al. 2021, "GLIDE", arXiv:2112.10741, section 4.1.
    """

    def __init__(self, channels, heads, groups, eps, context=None):
        self.heads, self.group_norm = heads, nn.GroupNorm(groups, channels, eps)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.added = nn.Linear(context, 2 * channels) if context else None

    def forward(self, x, context=None, mask=None):
        """x (N, C, H, W), context (N, S, W), mask (N, S), True where it counts -> (N, C, H, W)."""
        n, channels, height, width = x.shape
        tokens = ops.flatten(self.group_norm(x), 2).mT
        q, k, v = (split(part, self.heads) for part in ops.chunk(self.qkv(tokens), 3, axis=-1))
        if self.added is not None:
            front = [split(part, self.heads) for part in ops.chunk(self.added(context), 2, axis=-1)]
            k, v = ops.concat([front[0], k], 2), ops.concat([front[1], v], 2)
            if mask is not None:
                mask = ops.pad(mask, ((0, 0), (0, height * width)), value=True)[:, None, None]
        y = self.out(merge(ops.attention(q, k, v, None, mask)))
        return x + y.mT.reshape((n, channels, height, width))


class FeedForward(nn.Module):
    """Two layers with a GELU between them, which gates the other half where asked. Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, width, gated=True):
        self.gated = gated
        self.proj, self.out = nn.Linear(width, 4 * width * (1 + gated)), nn.Linear(4 * width, width)

    def forward(self, x):
        """x (N, T, W) -> (N, T, W)."""
        if not self.gated:
            return self.out(self.proj(x, "gelu"))
        y, gate = ops.chunk(self.proj(x), 2, axis=-1)
        return self.out(ops.geglu(gate, y))


class TransformerBlock(nn.Module):
    """Attention to itself, to another sequence if there is one, and a feed-forward net, each behind a norm.

    Args:
        width, heads, head_width: of the tokens, of attention.
        context: width of the other sequence; None: there is none.
        gated: of the feed-forward net; bias: of the projections to queries, keys and values.
    """

    def __init__(self, width, heads, head_width=None, context=None, gated=True, bias=False):
        self.norm1, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn1 = SelfAttention(width, heads, head_width, (bias, True))
        if context:
            self.norm2 = nn.LayerNorm(width)
            self.attn2 = CrossAttention(width, heads, head_width, (bias, True), other_width=context)
        self.crosses, self.ff = bool(context), FeedForward(width, gated)

    def forward(self, x, context=None, mask=None, causal=False):
        """x (N, T, W), context (N, S, C), mask of what the last attention looks at -> (N, T, W)."""
        if self.crosses:
            x = x + self.attn1(self.norm1(x))
            x = x + self.attn2(self.norm2(x), context, mask)
        else:
            x = x + self.attn1(self.norm1(x), mask, causal=causal)
        return x + self.ff(self.norm3(x))


class Transformer2D(nn.Module):
    """Pixels as tokens through TransformerBlocks, added to the input.

    Args:
        channels, heads, groups: of the input, of attention, of the norm.
        context: width of the sequence that pixels look at.
        depth: how many blocks.
        linear: maps to and from tokens are layers on tokens, not convolutions: the same with other shapes.
    """

    def __init__(self, channels, heads, groups, context, depth=1, linear=False):
        self.norm, self.linear = nn.GroupNorm(groups, channels, 1e-6), linear
        self.proj_in, self.proj_out = (nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
                                       for _ in range(2))
        self.transformer_blocks = nn.ModuleList(TransformerBlock(channels, heads, context=context)
                                                for _ in range(depth))

    def forward(self, x, context=None, mask=None):
        """x (N, C, H, W), context (N, S, W), mask (N, S), True where it counts -> (N, C, H, W)."""
        mask = None if mask is None else mask[:, None, None]
        y = self.norm(x)
        y = self.proj_in(ops.flatten(y, 2).mT) if self.linear else ops.flatten(self.proj_in(y), 2).mT
        for block in self.transformer_blocks:
            y = block(y, context, mask)
        y = self.proj_out(y).mT.reshape(x.shape) if self.linear else self.proj_out(y.mT.reshape(x.shape))
        return x + y


# -- names ------------------------------------------------------------------------------------------

def transformer_rows(official, ours=None):
    """diffusers' names of TransformerBlocks below this prefix."""
    at, here = f"{official}transformer_blocks.{{k}}.", f"{official if ours is None else ours}transformer_blocks.{{k}}."
    return ((at + "attn1.[to_q|to_k|to_v].*", here + "attn1.qkv.*"), (at + "attn1.to_out.0.*", here + "attn1.out.*"),
            (at + "attn2.to_q.*", here + "attn2.q.*"), (at + "attn2.[to_k|to_v].*", here + "attn2.kv.*"),
            (at + "attn2.to_out.0.*", here + "attn2.out.*"), (at + "ff.net.0.proj.*", here + "ff.proj.*"),
            (at + "ff.net.2.*", here + "ff.out.*"))


def spatial_rows(prefix):
    """diffusers' names of a SpatialAttention below this prefix, and older ones."""
    return ((prefix + "[to_q|to_k|to_v].*", prefix + "qkv.*"),
            (prefix + "[query|key|value].*", prefix + "qkv.*", "old"),
            (prefix + "[add_k_proj|add_v_proj].*", prefix + "added.*"), (prefix + "to_out.0.*", prefix + "out.*"),
            (prefix + "proj_attn.*", prefix + "out.*", "old"))
