"""CLIP: texts and images as vectors that point the same way where they belong together.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020.
Differs from the paper: nothing; GELU as x sigmoid(1.702 x), a norm in front of the image's layers, as in the authors'
code.

    tokens (N,T) -> word + position embeddings -> causal Layers -> norm -> the end of each text -> vector (N,P)
    image (N,C,H,W) -> patches, class token in front -> norm -> Layers -> token 0 -> norm -> vector (N,P)
"""
from dataclasses import dataclass, field, fields

import numpy as np

from ... import nn, ops
from ...data.preprocess import ImagePreprocess
from ...errors import ArgumentError, ShapeError, message
from ..registry import family
from .attention import SelfAttention, padding_mask
from .bert import TextModel
from .config import TextConfig, activated, activation
from .output import Output

INPUTS = ImagePreprocess(224, 224, "bicubic", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
LEGACY_END = 2                     # the end of texts in old configs, whose true end is the largest token


@dataclass(frozen=True)
class CLIPTextConfig(TextConfig):
    """Sizes of CLIP's tower of text, under the names of Hugging Face's config.json."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    initializer_factor: float = 1.0
    pad_token_id: int = 1
    bos_token_id: int = 49406
    eos_token_id: int = 49407

    model_type = "clip_text_model"

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(32, 8, 16, 6, 2, 2, 12, bos_token_id=30, eos_token_id=31)


@dataclass(frozen=True)
class CLIPVisionConfig(TextConfig):
    """Sizes of CLIP's tower of images, under the names of Hugging Face's config.json."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    initializer_factor: float = 1.0

    model_type = "clip_vision_model"

    def __post_init__(self):
        if self.image_size % self.patch_size:
            raise ArgumentError(message("CLIPVisionConfig", "image_size", "a multiple of patch_size", self.image_size))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(8, 16, 6, 2, 2, 3, 16, 8)


@dataclass(frozen=True)
class CLIPConfig(TextConfig):
    """Both towers, the width of the vectors, and the logarithm that their products are scaled by at first."""

    text_config: CLIPTextConfig = field(default_factory=CLIPTextConfig)
    vision_config: CLIPVisionConfig = field(default_factory=CLIPVisionConfig)
    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592
    initializer_factor: float = 1.0

    model_type = "clip"

    def __post_init__(self):
        for part in fields(self)[:2]:                  # (dicts, as files have them, become configs)
            value, kind = getattr(self, part.name), part.default_factory
            if isinstance(value, dict):
                object.__setattr__(self, part.name, kind.from_hf(value))

    @property
    def vocab_size(self):
        """Of the texts."""
        return self.text_config.vocab_size

    @property
    def eos_token_id(self):
        """The end of texts."""
        return self.text_config.eos_token_id

    @classmethod
    def from_hf(cls, told):
        """The config that a config.json tells; of a file that is old, `text_config_dict` counts, not `text_config`."""
        parts = {name: told.get(f"{name}_dict") or told.get(name) for name in ("text_config", "vision_config")}
        return super().from_hf({**told, **parts})

    def to_hf(self):
        """What config.json holds, without the architecture."""
        return {**super().to_hf(), "text_config": self.text_config.to_hf(), "vision_config": self.vision_config.to_hf()}

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(CLIPTextConfig.tiny(), CLIPVisionConfig.tiny(), 6)


class Layer(nn.Module):
    """Attention and a feed-forward net, each behind a norm and added to its input."""

    def __init__(self, config):
        c, width = config, config.hidden_size
        self.norm1, self.norm2 = nn.LayerNorm(width, c.layer_norm_eps), nn.LayerNorm(width, c.layer_norm_eps)
        self.attention = SelfAttention(width, c.num_attention_heads, dropout=c.attention_dropout)
        self.fc1, self.fc2 = nn.Linear(width, c.intermediate_size), nn.Linear(c.intermediate_size, width)
        self.act, factor = activation(c.hidden_act), c.initializer_factor
        narrow = (2 * c.num_hidden_layers * width) ** -0.5 * factor
        for linear, std in ((self.attention.qkv, narrow), (self.attention.out, width ** -0.5 * factor),
                            (self.fc1, (2 * width) ** -0.5 * factor), (self.fc2, narrow)):
            nn.init.normal_(linear.weight, std=std)    # (the authors' code: `initialize_parameters`)
            nn.init.zeros_(linear.bias)

    def forward(self, x, mask=None, causal=False):
        """x (N, T, W) -> (N, T, W)."""
        x = x + self.attention(self.norm1(x), mask, causal=causal)
        return x + self.fc2(activated(self.fc1, self.norm2(x), self.act))


class TextTower(nn.Module):
    """Tokens to hidden states, and to one vector of each text."""

    def __init__(self, config):
        c, normal = config, nn.init.normal(std=0.02 * config.initializer_factor)
        self.word = nn.Parameter(normal, c.vocab_size, c.hidden_size)
        self.position = nn.Parameter(normal, c.max_position_embeddings, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm, self.end = nn.LayerNorm(c.hidden_size, c.layer_norm_eps), c.eos_token_id

    def forward(self, input_ids, attention_mask=None):
        """input_ids (N, T), attention_mask (N, T) -> (states behind the norm, pooled (N, W), states of the layers).

        Raises:
            ShapeError: they are no texts, or longer than there are places.
        """
        most = self.position.shape[0]
        if input_ids.ndim != 2 or input_ids.shape[1] > most:
            raise ShapeError(message("CLIP", "input_ids", f"(N, T), at most {most} tokens a text", input_ids.shape,
                                     "Cut the text."))
        x = ops.embedding(input_ids, self.word) + self.position[:input_ids.shape[1]]
        mask, states = padding_mask(attention_mask), [x]
        for layer in self.layers:
            states.append(layer(states[-1], mask, True))
        x = self.norm(states[-1])
        last = input_ids if self.end == LEGACY_END else (input_ids == self.end).astype("int32")
        place = ops.argmax(last, -1)[:, None, None]    # (the first end: what is behind it is padding)
        pooled = ops.take_along_axis(x, ops.broadcast_to(place, (x.shape[0], 1, x.shape[2])), 1)[:, 0]
        return x, pooled, tuple(states)


class VisionTower(nn.Module):
    """Images to hidden states, and to one vector of each image."""

    def __init__(self, config):
        c, width, factor = config, config.hidden_size, config.initializer_factor
        self.image_size = c.image_size
        self.patch = nn.Conv2d(c.num_channels, width, c.patch_size, c.patch_size, bias=False)
        nn.init.normal_(self.patch.weight, std=c.initializer_range * factor)
        self.token = nn.Parameter(nn.init.normal(std=width ** -0.5 * factor), width)
        places = (c.image_size // c.patch_size) ** 2 + 1
        self.position = nn.Parameter(nn.init.normal(std=c.initializer_range * factor), places, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, c.layer_norm_eps), nn.LayerNorm(width, c.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))

    def forward(self, pixel_values):
        """pixel_values (N, C, H, W) -> (states behind the last layer, pooled (N, W), states of the layers).

        Raises:
            ShapeError: the images are not of the config's size.
        """
        size = self.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[2:] != (size, size):
            raise ShapeError(message("CLIP", "pixel_values", f"(N, C, {size}, {size})", pixel_values.shape))
        x = ops.flatten(self.patch(pixel_values), 2).mT
        first = ops.broadcast_to(self.token, (x.shape[0], 1, x.shape[2]))
        states = [self.norm1(ops.concat([first, x], 1) + self.position)]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states[-1], self.norm2(states[-1][:, 0]), tuple(states)


def layer_rows(official, ours):
    """Hugging Face's names of the layers below these prefixes."""
    at, here = f"{official}.encoder.layers.{{i}}.", f"{ours}.layers.{{i}}."
    return ((at + "self_attn.[q_proj|k_proj|v_proj].*", here + "attention.qkv.*"),
            (at + "self_attn.out_proj.*", here + "attention.out.*"),
            (at + "layer_norm1.*", here + "norm1.*"), (at + "layer_norm2.*", here + "norm2.*"),
            (at + "mlp.fc1.*", here + "fc1.*"), (at + "mlp.fc2.*", here + "fc2.*"))


TEXT = (("text_model.embeddings.token_embedding.weight", "text.word"),
        ("text_model.embeddings.position_embedding.weight", "text.position"),
        ("text_model.embeddings.position_ids", None), ("text_model.final_layer_norm.*", "text.norm.*"),
        *layer_rows("text_model", "text"))
VISION = (("vision_model.embeddings.class_embedding", "vision.token"),
          ("vision_model.embeddings.patch_embedding.*", "vision.patch.*"),
          ("vision_model.embeddings.position_embedding.weight", "vision.position"),
          ("vision_model.embeddings.position_ids", None), ("vision_model.pre_layrnorm.*", "vision.norm1.*"),
          ("vision_model.post_layernorm.*", "vision.norm2.*"), *layer_rows("vision_model", "vision"))


def projection(config, width):
    """The layer from a tower to the vectors, without a bias."""
    found = nn.Linear(config.hidden_size, width, bias=False)
    nn.init.normal_(found.weight, std=config.hidden_size ** -0.5 * config.initializer_factor)
    return found


class CLIPTextModel(TextModel):
    """The tower of text: what Stable Diffusion reads prompts with."""

    config_class = CLIPTextConfig
    layouts = {"huggingface": TEXT}
    architectures = ("CLIPTextModel",)
    base_prefix = "text_model."

    def __init__(self, config):
        self.config, self.text = config, TextTower(config)

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False):
        """Encode texts.

        Args:
            input_ids (N, T): tokens.
            attention_mask (N, T): 1 where a token counts, 0 where it is padding.
            output_hidden_states: give what is in front of the layers and behind each, too.

        Returns:
            last_hidden_state (N, T, W), pooler_output (N, W), hidden_states.
        """
        x, pooled, states = self.text(input_ids, attention_mask)
        return Output(last_hidden_state=x, pooler_output=pooled, hidden_states=states if output_hidden_states else None)


class CLIPTextModelWithProjection(CLIPTextModel):
    """The tower of text, and its vectors: what unCLIP reads prompts with."""

    architectures = ("CLIPTextModelWithProjection",)
    base_prefix = ""

    def __init__(self, config):
        super().__init__(config)
        self.text_projection = projection(config, config.projection_dim)

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False):
        """As of CLIPTextModel; text_embeds (N, P) in place of pooler_output."""
        found = super().forward(input_ids, attention_mask, output_hidden_states)
        return Output(text_embeds=self.text_projection(found.pooler_output), last_hidden_state=found.last_hidden_state,
                      hidden_states=found.hidden_states)


class CLIPVisionModelWithProjection(TextModel):
    """The tower of images, and its vectors: what unCLIP makes variations of."""

    config_class = CLIPVisionConfig
    layouts = {"huggingface": VISION}
    architectures = ("CLIPVisionModelWithProjection",)

    def __init__(self, config):
        self.config, self.vision = config, VisionTower(config)
        self.visual_projection = projection(config, config.projection_dim)

    def forward(self, pixel_values):
        """pixel_values (N, C, H, W) -> image_embeds (N, P), last_hidden_state (N, 1 + T, W)."""
        x, pooled, _ = self.vision(pixel_values)
        return Output(image_embeds=self.visual_projection(pooled), last_hidden_state=x)


class CLIPModel(TextModel):
    """Both towers, and how well each text fits each image."""

    config_class = CLIPConfig
    layouts = {"huggingface": (*TEXT, *VISION)}
    architectures = ("CLIPModel",)
    compares = ("logits_per_image", "logits_per_text")

    def __init__(self, config):
        c = self.config = config
        self.text, self.vision = TextTower(c.text_config), VisionTower(c.vision_config)
        self.text_projection = projection(c.text_config, c.projection_dim)
        self.visual_projection = projection(c.vision_config, c.projection_dim)
        self.logit_scale = nn.Parameter(np.float32(c.logit_scale_init_value))

    def get_text_features(self, input_ids, attention_mask=None):
        """input_ids (N, T) -> vectors (N, P), not of length 1."""
        return self.text_projection(self.text(input_ids, attention_mask)[1])

    def get_image_features(self, pixel_values):
        """pixel_values (M, C, H, W) -> vectors (M, P), not of length 1."""
        return self.visual_projection(self.vision(pixel_values)[1])

    def forward(self, input_ids, pixel_values, attention_mask=None, return_loss=False):
        """Compare texts and images.

        Args:
            input_ids (N, T): tokens.
            pixel_values (M, C, H, W): images.
            attention_mask (N, T): 1 where a token counts, 0 where it is padding.
            return_loss: give the contrastive loss of N = M pairs. Paper: figure 3.

        Returns:
            loss, logits_per_image (M, N), logits_per_text (N, M), text_embeds (N, P), image_embeds (M, P): of length 1.
        """
        texts, images = map(ops.normalize, (self.get_text_features(input_ids, attention_mask),
                                            self.get_image_features(pixel_values)))
        per_text = texts @ images.mT * ops.exp(self.logit_scale)
        loss = None
        if return_loss:
            pairs = ops.arange(len(texts), device=texts.device)
            loss = (ops.cross_entropy(per_text, pairs) + ops.cross_entropy(per_text.mT, pairs)) * 0.5
        return Output(loss=loss, logits_per_image=per_text.mT, logits_per_text=per_text, text_embeds=texts,
                      image_embeds=images)


PAPER = "Radford et al. 2021, arXiv:2103.00020"
text_encoder = family(CLIPTextModel, "text", PAPER)
two_towers = family(CLIPModel, "image-text", PAPER, INPUTS)


@text_encoder("sd15/text_encoder", name="clip-vit-large-patch14.text")
def clip_vit_large_text():
    """The tower of text of L/14, as Stable Diffusion 1.x has it."""
    return CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768,
                          eos_token_id=LEGACY_END)


@two_towers("hf/openai-clip-vit-base-patch32", name="clip-vit-base-patch32")
def clip_vit_base_patch32():
    """B/32."""
    return CLIPConfig()


@two_towers(name="clip-vit-large-patch14")
def clip_vit_large_patch14():
    """L/14."""
    text = clip_vit_large_text()
    vision = CLIPVisionConfig(1024, 4096, 768, 24, 16, patch_size=14)
    return CLIPConfig(text, vision, 768)
