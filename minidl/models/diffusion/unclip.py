"""unCLIP (DALL-E 2): from a text's vector to an image's, and how both tell the decoder what to draw.

Source: Ramesh et al. 2022, "Hierarchical Text-Conditional Image Generation with CLIP Latents", arXiv:2204.06125.
Differs from the paper: nothing; names and settings are those of Karlo, in diffusers' layout.

    prior: states of the text (N,S,D), its vector (N,D), t, x_t (N,D) -> tokens (N,S+4,W) -> causal TransformerBlocks
    -> the last -> the image's vector (N,D)
    projection: vectors of image and text -> tokens in front of the text's states, and what is added to the time
"""
from dataclasses import dataclass

from ... import nn, ops
from ...errors import ArgumentError, ShapeError, message
from ..config import ModelConfig
from ..model import Model
from ..registry import family
from ..text.output import Output
from .blocks import TimestepEmbedding, TransformerBlock, times, timestep_embedding, transformer_rows

PAPER = "Ramesh et al. 2022, arXiv:2204.06125"
ADDED = 4                          # tokens behind the text's: its vector, the time, x_t, one to become the result


@dataclass(frozen=True)
class PriorConfig(ModelConfig):
    """Sizes of a prior, under the names of diffusers' config.json.

    Args:
        num_attention_heads, attention_head_dim, num_layers: of the transformer.
        embedding_dim: of CLIP's vectors and states.
        num_embeddings: tokens of a text.
    """

    num_attention_heads: int = 32
    attention_head_dim: int = 64
    num_layers: int = 20
    embedding_dim: int = 768
    num_embeddings: int = 77

    @property
    def width(self):
        """Of the transformer's tokens."""
        return self.num_attention_heads * self.attention_head_dim

    @classmethod
    def from_hf(cls, told):
        """From diffusers' config.json.

        Raises:
            ArgumentError: it is another prior than DALL-E 2's.
        """
        fixed = {"additional_embeddings": (ADDED,), "added_emb_type": ("prd",), "time_embed_act_fn": ("silu",),
                 "encoder_hid_proj_type": ("linear",), "dropout": (0, 0.0)}
        names = cls.__dataclass_fields__
        wrong = [f"{name}={value!r}" for name, value in told.items()
                 if name not in names and name[0] != "_" and value not in fixed.get(name, (None,))]
        if wrong:
            raise ArgumentError(message("PriorTransformer", "config.json", "DALL-E 2's prior", ", ".join(wrong)))
        return cls.from_dict({name: value for name, value in told.items() if name in names})

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(2, 4, 2, 6, 5)


class PriorTransformer(Model):
    """The prior of the module's docstring: it gives the picture's vector itself, not the noise."""

    config_class = PriorConfig
    layouts = {"diffusers": transformer_rows("")}
    architectures = ("PriorTransformer",)

    def __init__(self, config):
        c, width = config, config.width
        self.config, vector = config, config.embedding_dim
        self.time_embedding = TimestepEmbedding(width, width)
        self.proj_in, self.embedding_proj = nn.Linear(vector, width), nn.Linear(vector, width)
        self.encoder_hidden_states_proj = nn.Linear(vector, width)
        places = nn.init.normal(std=0.02)
        self.positional_embedding = nn.Parameter(places, 1, c.num_embeddings + ADDED, width)
        self.prd_embedding = nn.Parameter(places, 1, 1, width)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, c.num_attention_heads, gated=False, bias=True) for _ in range(c.num_layers))
        self.norm_out, self.proj_to_clip_embeddings = nn.LayerNorm(width), nn.Linear(width, vector)
        self.clip_mean = nn.Parameter(nn.init.zeros(), 1, vector)
        self.clip_std = nn.Parameter(nn.init.ones(), 1, vector)
        for fixed in (self.clip_mean, self.clip_std):  # (of the vectors that it was trained on)
            fixed.requires_grad = False

    def forward(self, hidden_states, timestep, proj_embedding, encoder_hidden_states, attention_mask=None):
        """The image's vector, scaled as in training: `post_process_latents` undoes it.

        Args:
            hidden_states (N, D): x_t.
            timestep: a number, or (N).
            proj_embedding (N, D): the text's vector.
            encoder_hidden_states (N, S, D): the text's states.
            attention_mask (N, S): bool, True where the text counts.

        Returns:
            (N, D).

        Raises:
            ShapeError: the text has another length or width.
        """
        c, n = self.config, hidden_states.shape[0]
        if encoder_hidden_states.shape[1:] != (c.num_embeddings, c.embedding_dim):
            expected = f"(N, {c.num_embeddings}, {c.embedding_dim})"
            raise ShapeError(message("PriorTransformer", "encoder_hidden_states", expected,
                                     encoder_hidden_states.shape))
        time = times("PriorTransformer", timestep, hidden_states)
        waves = timestep_embedding(time, c.width).astype(hidden_states.dtype)
        parts = [self.embedding_proj(proj_embedding), self.time_embedding(waves), self.proj_in(hidden_states)]
        x = ops.concat([self.encoder_hidden_states_proj(encoder_hidden_states), ops.stack(parts, 1),
                        ops.broadcast_to(self.prd_embedding, (n, 1, c.width))], 1) + self.positional_embedding
        mask = attention_mask
        if mask is not None:
            mask = ops.pad(mask.astype("bool"), ((0, 0), (0, ADDED)), value=True)[:, None, None]
        for block in self.transformer_blocks:
            x = block(x, mask=mask, causal=True)
        return self.proj_to_clip_embeddings(self.norm_out(x)[:, -1])

    def post_process_latents(self, latents):
        """Vectors (N, D) in CLIP's own scale."""
        return latents * self.clip_std + self.clip_mean

    def describe_config(self):
        """What diffusers' config.json holds."""
        return {"_class_name": "PriorTransformer", **self.config.to_dict()}


@dataclass(frozen=True)
class TextProjConfig(ModelConfig):
    """Sizes of the projection, under the names of diffusers' config.json.

    Args:
        clip_extra_context_tokens: tokens that an image's vector becomes.
        clip_embeddings_dim: of CLIP's vectors and states.
        time_embed_dim, cross_attention_dim: of the decoder.
    """

    clip_extra_context_tokens: int = 4
    clip_embeddings_dim: int = 768
    time_embed_dim: int = 1280
    cross_attention_dim: int = 1536

    @classmethod
    def from_hf(cls, told):
        """From diffusers' config.json."""
        return cls.from_dict({name: value for name, value in told.items() if name in cls.__dataclass_fields__})

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(2, 6, 8, 4)


class UnCLIPTextProjModel(Model):
    """What the decoder is told. Paper: section 2.1."""

    config_class = TextProjConfig
    architectures = ("UnCLIPTextProjModel",)
    layouts = {"diffusers": ()}

    def __init__(self, config):
        c, vector = config, config.clip_embeddings_dim
        self.config = config
        self.learned_classifier_free_guidance_embeddings = nn.Parameter(nn.init.zeros(), vector)
        self.embedding_proj = nn.Linear(vector, c.time_embed_dim)
        self.clip_image_embeddings_project_to_time_embeddings = nn.Linear(vector, c.time_embed_dim)
        self.clip_extra_context_tokens_proj = nn.Linear(vector, c.clip_extra_context_tokens * c.cross_attention_dim)
        self.encoder_hidden_states_proj = nn.Linear(vector, c.cross_attention_dim)
        self.text_encoder_hidden_states_norm = nn.LayerNorm(c.cross_attention_dim)

    def forward(self, image_embeddings, prompt_embeds, text_encoder_hidden_states, dropped=None):
        """The sequence and the vector for the decoder.

        Args:
            image_embeddings (N, D): vectors of images.
            prompt_embeds (N, D): vectors of texts.
            text_encoder_hidden_states (N, S, D): their states.
            dropped (N): bool, True where the image shall not be told, as guidance wants it.

        Returns:
            hidden (N, clip_extra_context_tokens + S, cross_attention_dim), time_add (N, time_embed_dim).

        Raises:
            ShapeError: there are not as many images as texts.
        """
        c = self.config
        if dropped is not None:
            none = self.learned_classifier_free_guidance_embeddings
            image_embeddings = ops.where(dropped[:, None], none, image_embeddings)
        if len(image_embeddings) != len(prompt_embeds):
            raise ShapeError(message("UnCLIPTextProjModel", "image_embeddings", f"{len(prompt_embeds)} rows, as many "
                                     "as texts", len(image_embeddings)))
        time = self.embedding_proj(prompt_embeds) + self.clip_image_embeddings_project_to_time_embeddings(
            image_embeddings)
        front = self.clip_extra_context_tokens_proj(image_embeddings)
        front = front.reshape((len(front), c.cross_attention_dim, c.clip_extra_context_tokens)).mT
        states = self.encoder_hidden_states_proj(text_encoder_hidden_states)
        return Output(hidden=ops.concat([front, self.text_encoder_hidden_states_norm(states)], 1), time_add=time)

    def describe_config(self):
        """What diffusers' config.json holds."""
        return {"_class_name": "UnCLIPTextProjModel", **self.config.to_dict()}


@family(PriorTransformer, "image-generation", PAPER)("karlo/prior", name="karlo.prior")
def karlo_prior():
    """Karlo's prior."""
    return PriorConfig()


@family(UnCLIPTextProjModel, "image-generation", PAPER)("karlo/text_proj", name="karlo.text-projection")
def karlo_text_proj():
    """Karlo's projection."""
    return TextProjConfig()
