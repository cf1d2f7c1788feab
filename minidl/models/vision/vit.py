"""Vision Transformer: an image as a sequence of patches.

Source: Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", arXiv:2010.11929; LayerScale: Touvron et al. 2021,
arXiv:2103.17239, as DINOv2 uses it (Oquab et al. 2023, arXiv:2304.07193).
Differs from the paper: nothing; its hidden layer before the head is left out, as in published fine-tuned checkpoints.

    image (N,C,H,W) -> patches (N,T,W) -> class token in front, positions added -> Blocks -> norm -> token 0
    -> logits (N,K)
"""
from dataclasses import dataclass, replace

import numpy as np

from ... import nn, ops
from ...data.preprocess import HALF, ImagePreprocess
from ...errors import ArgumentError, ShapeError, message
from ...tensor import Tensor
from ..config import ModelConfig
from ..features import Feature
from ..model import Classifier, linear_head
from ..registry import family


@dataclass(frozen=True)
class ViTConfig(ModelConfig):
    """Sizes of a Vision Transformer.

    Args:
        patch_size, image_size: pixels a side.
        width, depth, heads: of the tokens, number of blocks, heads of attention.
        mlp_width: of the hidden layer in each block.
        in_channels, num_classes: of the image, and of the logits.
        layer_scale: what LayerScale starts from; None: none.
        dropout: of attention's and the MLP's outputs; drop_path: of the last block, from 0 at the first.
        eps: of the layer norms.
    """

    patch_size: int = 16
    image_size: int = 224
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    in_channels: int = 3
    num_classes: int = 1000
    layer_scale: float | None = None
    dropout: float = 0.0
    drop_path: float = 0.0
    eps: float = 1e-6

    def __post_init__(self):
        if self.image_size % self.patch_size or self.width % self.heads:
            raise ArgumentError(message("ViTConfig", "image_size, width", "multiples of patch_size and of heads",
                                        (self.image_size, self.width)))

    @property
    def grid(self):
        """Patches along a side."""
        return self.image_size // self.patch_size

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(4, 16, 8, 2, 2, 16, num_classes=3, layer_scale=0.1)

    @classmethod
    def from_hf(cls, told):
        """From Hugging Face's config.json of a ViTForImageClassification."""
        classes = len(told.get("id2label") or range(told.get("num_labels", 2)))
        if told.get("hidden_act", "gelu") != "gelu":
            raise ArgumentError(message("ViTConfig", "hidden_act", "gelu", repr(told["hidden_act"])))
        return cls(told.get("patch_size", 16), told.get("image_size", 224), told.get("hidden_size", 768),
                   told.get("num_hidden_layers", 12), told.get("num_attention_heads", 12),
                   told.get("intermediate_size", 3072), told.get("num_channels", 3), classes,
                   dropout=told.get("hidden_dropout_prob", 0.0), eps=told.get("layer_norm_eps", 1e-12))


class PatchEmbed(nn.Module):
    """Cut an image into patches and map each to a token. Paper: eq. 1."""

    def __init__(self, config):
        size = config.patch_size
        self.proj = nn.Conv2d(config.in_channels, config.width, size, size)

    def forward(self, image):
        """image (N, C, H, W) -> tokens (N, T, W)."""
        return ops.flatten(self.proj(image), 2).mT


class Attention(nn.Module):
    """Multi-head attention from one projection for queries, keys and values. Paper: appendix A."""

    def __init__(self, width, heads, dropout):
        self.heads = heads
        self.qkv, self.proj, self.drop = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.Dropout(dropout)

    def forward(self, x):
        """x (N, T, W) -> (N, T, W)."""
        n, t, width = x.shape
        qkv = ops.permute_dims(self.qkv(x).reshape((n, t, 3, self.heads, width // self.heads)), (2, 0, 3, 1, 4))
        y = ops.attention(qkv[0], qkv[1], qkv[2])
        return self.drop(self.proj(ops.permute_dims(y, (0, 2, 1, 3)).reshape((n, t, width))))


class MLP(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, width, hidden, dropout):
        self.fc1, self.fc2, self.drop = nn.Linear(width, hidden), nn.Linear(hidden, width), nn.Dropout(dropout)

    def forward(self, x):
        """x (*, W) -> (*, W)."""
        return self.drop(self.fc2(self.drop(self.fc1(x, "gelu"))))


class LayerScale(nn.Module):
    """Multiply each channel by a learnt number, small at first. Touvron et al.: eq. 4."""

    def __init__(self, width, start):
        self.gamma = nn.Parameter(nn.init.constant(start), width)

    def forward(self, x):
        """x (*, W) -> the same shape."""
        return x * self.gamma


class Block(nn.Module):
    """Attention, then an MLP, each behind a norm and around which the input passes. Paper: eq. 2, 3."""

    def __init__(self, config, drop_path):
        c = config
        self.norm1, self.attn = nn.LayerNorm(c.width, c.eps), Attention(c.width, c.heads, c.dropout)
        self.norm2, self.mlp = nn.LayerNorm(c.width, c.eps), MLP(c.width, c.mlp_width, c.dropout)
        self.ls1, self.ls2 = (nn.Identity() if c.layer_scale is None else LayerScale(c.width, c.layer_scale)
                              for _ in range(2))
        self.drop_path = nn.DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x):
        """x (N, T, W) -> (N, T, W)."""
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


TORCHVISION = (
    ("class_token", "cls_token"), ("encoder.pos_embedding", "pos_embed"), ("conv_proj.*", "patch_embed.proj.*"),
    ("encoder.layers.encoder_layer_{i}.ln_1.*", "blocks.{i}.norm1.*"),
    ("encoder.layers.encoder_layer_{i}.self_attention.in_proj_weight", "blocks.{i}.attn.qkv.weight"),
    ("encoder.layers.encoder_layer_{i}.self_attention.in_proj_bias", "blocks.{i}.attn.qkv.bias"),
    ("encoder.layers.encoder_layer_{i}.self_attention.out_proj.*", "blocks.{i}.attn.proj.*"),
    ("encoder.layers.encoder_layer_{i}.ln_2.*", "blocks.{i}.norm2.*"),
    ("encoder.layers.encoder_layer_{i}.mlp.0.*", "blocks.{i}.mlp.fc1.*"),
    ("encoder.layers.encoder_layer_{i}.mlp.3.*", "blocks.{i}.mlp.fc2.*"),
    ("encoder.layers.encoder_layer_{i}.mlp.linear_1.*", "blocks.{i}.mlp.fc1.*", "old"),
    ("encoder.layers.encoder_layer_{i}.mlp.linear_2.*", "blocks.{i}.mlp.fc2.*", "old"),
    ("encoder.ln.*", "norm.*"), ("heads.head.*", "head.*"))

HUGGINGFACE = (
    ("vit.embeddings.cls_token", "cls_token"), ("vit.embeddings.position_embeddings", "pos_embed"),
    ("vit.embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
    ("vit.encoder.layer.{i}.layernorm_before.*", "blocks.{i}.norm1.*"),
    ("vit.encoder.layer.{i}.attention.attention.[query|key|value].*", "blocks.{i}.attn.qkv.*"),
    ("vit.encoder.layer.{i}.attention.output.dense.*", "blocks.{i}.attn.proj.*"),
    ("vit.encoder.layer.{i}.layernorm_after.*", "blocks.{i}.norm2.*"),
    ("vit.encoder.layer.{i}.intermediate.dense.*", "blocks.{i}.mlp.fc1.*"),
    ("vit.encoder.layer.{i}.output.dense.*", "blocks.{i}.mlp.fc2.*"),
    ("vit.layernorm.*", "norm.*"), ("classifier.*", "head.*"), ("vit.pooler.*", None))


class VisionTransformer(Classifier):
    """The network of the module's docstring."""

    config_class = ViTConfig
    layouts = {"timm": (("mask_token", None),), "torchvision": TORCHVISION, "huggingface": HUGGINGFACE}
    base_prefix = "vit."
    architectures = ("ViTForImageClassification", "ViTModel")
    head_name = "head"

    def __init__(self, config):
        c = self.config = config
        self.cls_token = nn.Parameter(nn.init.normal(std=1e-6), 1, 1, c.width)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal(std=0.02), 1, c.grid ** 2 + 1, c.width)
        self.patch_embed = PatchEmbed(c)
        self.drop = nn.Dropout(c.dropout)
        rates = [c.drop_path * i / max(c.depth - 1, 1) for i in range(c.depth)]
        self.blocks = nn.Sequential(*(Block(c, rate) for rate in rates))
        self.norm, self.width = nn.LayerNorm(c.width, c.eps), c.width
        self.head = linear_head(c.width, c.num_classes)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.normal_(module.bias, std=1e-6)

    def adapt_weight(self, name, array):
        """Positions of a checkpoint for other image sizes, resized to this model's grid."""
        if name != "pos_embed" or array.shape == self.pos_embed.shape:
            return array
        return resize_positions(array, self.config.grid)

    def resize(self, image_size):
        """Change the model, in place, to take images of other sizes: its positions are resized."""
        self.config = replace(self.config, image_size=image_size)
        self.pos_embed = nn.Parameter(resize_positions(self.pos_embed.numpy(), self.config.grid))

    def tokens(self, image):
        """image (N, C, H, W) -> tokens in front of the blocks (N, 1 + T, W).

        Raises:
            ShapeError: the image is not of the config's size.
        """
        size = self.config.image_size
        if image.ndim != 4 or image.shape[2:] != (size, size):
            raise ShapeError(message("VisionTransformer", "image", f"(N, C, {size}, {size})", image.shape,
                                     "model.resize(image_size) changes the model."))
        x = self.patch_embed(image)
        first = ops.broadcast_to(self.cls_token, (x.shape[0], 1, x.shape[2]))
        return self.drop(ops.concat([first, x], 1) + self.pos_embed)

    @property
    def feature_info(self):
        """Features of the maps of `pyramid`, all of one resolution."""
        return (Feature(self.config.width, self.config.patch_size),) * self.config.depth

    def pyramid(self, image):
        """image (N, C, H, W) -> each block's patch tokens as a map (N, W, H/patch, W/patch)."""
        x, maps, grid = self.tokens(image), [], self.config.grid
        for block in self.blocks:
            x = block(x)
            maps.append(x[:, 1:].mT.reshape((x.shape[0], x.shape[2], grid, grid)))
        return maps

    def forward_blocks(self, image):
        """image (N, C, H, W) -> tokens behind the last block, before the norm (N, 1 + T, W)."""
        return self.blocks(self.tokens(image))

    def forward_features(self, image):
        """image (N, C, H, W) -> normalised tokens (N, 1 + T, W), the class token first."""
        return self.norm(self.forward_blocks(image))

    def forward_head(self, features):
        """Tokens -> logits (N, num_classes), from the class token."""
        return self.head(features[:, 0])


def resize_positions(positions, grid):
    """Position embeddings (1, 1 + G*G, W) for a grid of another size (1, 1 + grid*grid, W), by cubic interpolation.

    Source: Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.2.

    Raises:
        ShapeError: they are not of a square grid and a class token.
    """
    old = round((positions.shape[1] - 1) ** 0.5) if positions.ndim == 3 else -1
    if positions.ndim != 3 or old * old + 1 != positions.shape[1]:
        raise ShapeError(message("resize_positions", "positions", "(1, 1 + G*G, W)", positions.shape))
    first, rest = positions[:, :1], positions[:, 1:].reshape(1, old, old, -1).transpose(0, 3, 1, 2)
    maps = ops.interpolate(Tensor(rest.astype(np.float32)), (grid, grid), mode="bicubic", align_corners=False,
                           antialias=True).numpy()
    maps = maps.reshape(1, -1, grid * grid).transpose(0, 2, 1)
    return np.concatenate([first.astype(np.float32), maps], 1)


vit = family(VisionTransformer, "image-classification", "Dosovitskiy et al. 2020, arXiv:2010.11929",
             ImagePreprocess(224, 248, "bicubic", HALF, HALF), "imagenet")
TORCHVISION_INPUTS = ImagePreprocess(224, 256, "bilinear")


@vit({"timm/vit_tiny_patch16_224": "timm"})
def vit_tiny_patch16_224():
    """Ti/16."""
    return ViTConfig(16, width=192, heads=3, mlp_width=768)


@vit({"timm/vit_small_patch16_224": "timm"})
def vit_small_patch16_224():
    """S/16."""
    return ViTConfig(16, width=384, heads=6, mlp_width=1536)


@vit(inputs=ImagePreprocess(518, 518, "bicubic"), labels=None)
def vit_small_patch14_dinov2():
    """S/14 of DINOv2: LayerScale, no head."""
    return ViTConfig(14, 518, 384, heads=6, mlp_width=1536, num_classes=0, layer_scale=1e-5)


@vit({"timm/vit_base_patch16_224": "timm", "hf/google-vit-base-patch16-224": "huggingface"})
def vit_base_patch16_224():
    """B/16."""
    return ViTConfig(16)


@vit({"timm/vit_base_patch32_224": "timm"})
def vit_base_patch32_224():
    """B/32."""
    return ViTConfig(32)


@vit({"timm/vit_large_patch16_224": "timm", "hf/google-vit-large-patch16-224": "huggingface"})
def vit_large_patch16_224():
    """L/16."""
    return ViTConfig(16, width=1024, depth=24, heads=16, mlp_width=4096)


@vit({"torchvision/vit_b_16": "torchvision"}, inputs=TORCHVISION_INPUTS)
def vit_b_16():
    """B/16 as torchvision publishes it."""
    return ViTConfig(16)


@vit({"torchvision/vit_b_32": "torchvision"}, inputs=TORCHVISION_INPUTS)
def vit_b_32():
    """B/32 as torchvision publishes it."""
    return ViTConfig(32)


@vit({"torchvision/vit_l_16": "torchvision"}, inputs=ImagePreprocess(224, 242))
def vit_l_16():
    """L/16 as torchvision publishes it."""
    return ViTConfig(16, width=1024, depth=24, heads=16, mlp_width=4096)


@vit({"torchvision/vit_l_32": "torchvision"}, inputs=TORCHVISION_INPUTS)
def vit_l_32():
    """L/32 as torchvision publishes it."""
    return ViTConfig(32, width=1024, depth=24, heads=16, mlp_width=4096)


@vit({"torchvision/vit_h_14": "torchvision"}, inputs=ImagePreprocess(518, 518, "bicubic"))
def vit_h_14():
    """H/14 as torchvision publishes it; its weights for 518 pixels load with image_size=518."""
    return ViTConfig(14, width=1280, depth=32, heads=16, mlp_width=5120)
