"""Whisper: speech to text, in many languages.

Source: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", arXiv:2212.04356.
Differs from the paper: nothing; keys are projected without a bias, as in the authors' code.

    log-mel spectrogram (N,M,2S) -> two convolutions, /2 -> + sinusoids -> Layers -> norm (N,S,W);
    tokens (N,T) -> word + position embeddings -> Layers that look at both -> norm -> scores (N,T,V)
"""
import re
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ...errors import ShapeError, message
from ..registry import family
from ..text.attention import merge, padding_mask, split
from ..text.bert import TextModel, cross_entropy
from ..text.config import TextConfig, activation
from ..text.output import Output
from ..text.t5 import shift_right


@dataclass(frozen=True)
class WhisperConfig(TextConfig):
    """Sizes of a Whisper, under the names of Hugging Face's config.json."""

    vocab_size: int = 51865
    num_mel_bins: int = 80
    d_model: int = 384
    encoder_layers: int = 4
    encoder_attention_heads: int = 6
    encoder_ffn_dim: int = 1536
    decoder_layers: int = 4
    decoder_attention_heads: int = 6
    decoder_ffn_dim: int = 1536
    max_source_positions: int = 1500
    max_target_positions: int = 448
    activation_function: str = "gelu"
    dropout: float = 0.0
    init_std: float = 0.02
    pad_token_id: int | None = 50257
    bos_token_id: int = 50257
    eos_token_id: int = 50257
    decoder_start_token_id: int = 50258
    alignment_heads: tuple | None = None       # (layer, head) of those that look where a word is said; None: not known

    model_type = "whisper"

    @property
    def initializer_range(self):
        """As BERT calls it."""
        return self.init_std

    @classmethod
    def from_openai(cls, dims):
        """From the `dims` of a checkpoint of OpenAI's, which has no padding."""
        width, wide, end = dims["n_audio_state"], dims["n_text_state"], 50256 if dims["n_vocab"] == 51864 else 50257
        return cls(dims["n_vocab"], dims["n_mels"], width, dims["n_audio_layer"], dims["n_audio_head"], 4 * width,
                   dims["n_text_layer"], dims["n_text_head"], 4 * wide, dims["n_audio_ctx"], dims["n_text_ctx"],
                   pad_token_id=None, bos_token_id=end, eos_token_id=end, decoder_start_token_id=end + 1)

    @classmethod
    def from_ctranslate2(cls, weights):
        """From the arrays of a model.bin: their shapes, and the numbers of heads that it keeps beside them."""
        shape = weights.shape
        layers, heads = ({side: value(side) for side in ("encoder", "decoder")} for value in (
            lambda side: sum(re.fullmatch(rf"{side}/layer_\d+/self_attention/linear_0/weight", n) is not None
                             for n in weights), lambda side: int(weights[f"{side}/num_heads"])))
        (vocabulary, wide), (width, mels, _) = shape("decoder/embeddings/weight"), shape("encoder/conv1/weight")
        places = [shape(f"{side}/position_encodings/encodings")[0] for side in ("encoder", "decoder")]
        return cls.from_openai({
            "n_vocab": vocabulary, "n_mels": mels, "n_audio_state": width, "n_audio_layer": layers["encoder"],
            "n_audio_head": heads["encoder"], "n_text_state": wide, "n_text_layer": layers["decoder"],
            "n_text_head": heads["decoder"], "n_audio_ctx": places[0], "n_text_ctx": places[1]})

    def to_hf(self):
        """What config.json holds, without the architecture."""
        return {**super().to_hf(), "is_encoder_decoder": True}

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(32, 4, 8, 1, 2, 16, 1, 2, 16, 10, 12, pad_token_id=1, bos_token_id=1, eos_token_id=1,
                   decoder_start_token_id=2)


class Attention(nn.Module):
    """Multi-head attention whose keys have no bias; over another sequence, if there is one."""

    def __init__(self, width, heads):
        self.heads = heads
        self.q, self.k = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.v, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, other=None, causal=False, mask=None, cache=None, layer=0):
        """x (N, T, W), other (N, S, W), or (1, S, W) for all of x, -> (N, T, W)."""
        pair = cache.cross.get(layer) if cache is not None and other is not None else None
        if pair is None:
            source = x if other is None else other
            pair = split(self.k(source), self.heads), split(self.v(source), self.heads)
            if cache is not None and other is not None:
                cache.cross[layer] = pair
            elif cache is not None:
                pair = cache.update(layer, *pair)
        k, v = pair
        q = self.q(x)
        if other is not None and len(k) < len(q):      # (several texts of one sound: side by side, as one)
            q = q.reshape((1, -1, q.shape[2]))
        q = split(q, self.heads)
        y = ops.attention(q, k, v, None, mask, is_causal=causal, offset=k.shape[2] - q.shape[2] if causal else 0)
        return self.out(merge(y).reshape(x.shape))


class Layer(nn.Module):
    """Attention, perhaps to the encoder, too, and a feed-forward net, each behind a norm and added to its input."""

    def __init__(self, config, side):
        c, width = config, config.d_model
        heads, hidden = (getattr(c, f"{side}_{what}") for what in ("attention_heads", "ffn_dim"))
        self.decoder, self.act = side == "decoder", activation(c.activation_function)
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        if self.decoder:
            self.norm2, self.cross = nn.LayerNorm(width), Attention(width, heads)
        self.norm3, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x, encoded=None, mask=None, cache=None, layer=0):
        """x (N, T, W), encoded (N, S, W) -> (N, T, W)."""
        x = x + self.dropout(self.attention(self.norm1(x), None, self.decoder, mask, cache, layer))
        if self.decoder:
            x = x + self.dropout(self.cross(self.norm2(x), encoded, cache=cache, layer=layer))
        return x + self.dropout(self.fc2(self.fc1(self.norm3(x), self.act)))


def sinusoids(xp, shape, dtype):
    """Sines of all frequencies, then their cosines (length, width); an initialiser. The authors' code: `sinusoids`."""
    length, width = shape
    steps = np.log(10000) / (width // 2 - 1)
    angle = xp.arange(length)[:, None] * xp.exp(-steps * xp.arange(width // 2))
    return xp.concatenate([xp.sin(angle), xp.cos(angle)], 1).astype(dtype)


def huggingface():
    """Hugging Face's names."""
    yield "proj_out.weight", "word"
    yield "model.decoder.embed_tokens.weight", "word"
    yield "model.decoder.embed_positions.weight", "position"
    yield "model.encoder.embed_positions.weight", "audio_position"
    yield "model.encoder.conv{i}.*", "conv{i}.*"
    for side in ("encoder", "decoder"):
        at, here = f"model.{side}.layers.{{i}}.", f"{side}.{{i}}."
        yield f"model.{side}.layer_norm.*", f"{side}_norm.*"
        for theirs, ours in (("self_attn", "attention"), ("encoder_attn", "cross")):
            yield from ((f"{at}{theirs}.{a}.*", f"{here}{ours}.{b}.*") for a, b in (
                ("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "out")))
        yield from ((at + a, here + b) for a, b in (
            ("self_attn_layer_norm.*", "norm1.*"), ("encoder_attn_layer_norm.*", "norm2.*"),
            ("final_layer_norm.*", "norm3.*"), ("fc1.*", "fc1.*"), ("fc2.*", "fc2.*")))


def openai():
    """OpenAI's names."""
    yield "decoder.token_embedding.weight", "word"
    yield "decoder.positional_embedding", "position"
    yield "encoder.positional_embedding", "audio_position"
    yield "encoder.conv{i}.*", "conv{i}.*"
    yield "encoder.ln_post.*", "encoder_norm.*"
    yield "decoder.ln.*", "decoder_norm.*"
    for side in ("encoder", "decoder"):
        at, here = f"{side}.blocks.{{i}}.", f"{side}.{{i}}."
        for theirs, ours in (("attn", "attention"), ("cross_attn", "cross")):
            yield from ((f"{at}{theirs}.{a}.*", f"{here}{ours}.{b}.*") for a, b in (
                ("query", "q"), ("key", "k"), ("value", "v"), ("out", "out")))
        yield from ((at + a, here + b) for a, b in (
            ("attn_ln.*", "norm1.*"), ("cross_attn_ln.*", "norm2.*"), ("mlp_ln.*", "norm3.*"), ("mlp.0.*", "fc1.*"),
            ("mlp.2.*", "fc2.*")))


FACTS = "num_heads", "activation", "alibi", "alignment_heads", "alignment_layer", "pre_norm", "scale_embeddings", \
    "start_from_zero_embedding"


def ctranslate2():
    """CTranslate2's names: projections are joined, and keys have a bias, which changes no attention."""
    yield "decoder/embeddings/weight", "word"
    yield "decoder/projection/weight", "word"
    for side in ("encoder", "decoder"):
        at, here = f"{side}/layer_{{i}}/", f"{side}.{{i}}."
        yield from ((f"{side}/{fact}", None) for fact in FACTS)
        yield from ((f"{side}/layer_norm/{a}", f"{side}_norm.{b}") for a, b in NORM)
        yield f"{at}self_attention/linear_0/weight", f"{here}attention.[q|k|v].weight"
        yield f"{at}self_attention/linear_0/bias", f"{here}attention.[q|0|v].bias"
        yield from ((f"{at}self_attention/linear_1/{a}", f"{here}attention.out.{a}") for a in ("weight", "bias"))
        yield from ((f"{at}{theirs}/layer_norm/{a}", f"{here}{norm}.{b}") for a, b in NORM for theirs, norm in (
            ("self_attention", "norm1"), ("attention", "norm2"), ("ffn", "norm3")))
        yield from ((f"{at}ffn/linear_{i}/{a}", f"{here}fc{i + 1}.{a}") for i in (0, 1) for a in ("weight", "bias"))
    yield "decoder/layer_{i}/attention/linear_1/weight", "decoder.{i}.cross.[k|v].weight"
    yield "decoder/layer_{i}/attention/linear_1/bias", "decoder.{i}.cross.[0|v].bias"
    yield from ((f"decoder/layer_{{i}}/attention/linear_{n}/{a}", f"decoder.{{i}}.cross.{ours}.{a}")
                for n, ours in ((0, "q"), (2, "out")) for a in ("weight", "bias"))
    yield "encoder/position_encodings/encodings", "audio_position"
    yield "decoder/position_encodings/encodings", "position"
    yield from ((f"encoder/conv{i}/{a}", f"conv{i}.{a}") for i in (1, 2) for a in ("weight", "bias"))


NORM = ("gamma", "weight"), ("beta", "bias")


class WhisperForConditionalGeneration(TextModel):
    """The network of the module's docstring."""

    config_class = WhisperConfig
    layouts = {"huggingface": tuple(huggingface()), "openai": tuple(openai()), "ctranslate2": tuple(ctranslate2())}
    architectures = ("WhisperForConditionalGeneration",)

    def __init__(self, config):
        c, width = config, config.d_model
        self.config = config
        self.conv1, self.conv2 = nn.Conv1d(c.num_mel_bins, width, 3, 1, 1), nn.Conv1d(width, width, 3, 2, 1)
        self.audio_position = nn.Parameter(sinusoids, c.max_source_positions, width, requires_grad=False)
        self.encoder = nn.ModuleList(Layer(c, "encoder") for _ in range(c.encoder_layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.word = nn.Parameter(nn.init.normal(std=c.init_std), c.vocab_size, width)
        self.position = nn.Parameter(nn.init.normal(std=c.init_std), c.max_target_positions, width)
        self.decoder = nn.ModuleList(Layer(c, "decoder") for _ in range(c.decoder_layers))
        self.decoder_norm, self.dropout = nn.LayerNorm(width), nn.Dropout(c.dropout)
        self.initialize()

    def encode(self, input_features):
        """Log-mel spectrogram (N, M, 2S) -> (N, S, W).

        Raises:
            ShapeError: it is not as long as the config says.
        """
        frames = 2 * self.config.max_source_positions
        if input_features.ndim != 3 or input_features.shape[2] != frames:
            raise ShapeError(message("Whisper", "input_features", f"(N, {self.config.num_mel_bins}, {frames})",
                                     input_features.shape, "Fill up with silence, or cut, to 30 seconds."))
        x = ops.gelu(self.conv2(ops.gelu(self.conv1(input_features)))).mT
        x = self.dropout(x + self.audio_position)
        for layer in self.encoder:
            x = layer(x)
        return self.encoder_norm(x)

    def decode(self, input_ids, encoded, attention_mask=None, decoder_attention_mask=None, cache=None, states=None):
        """input_ids (N, T), encoded (N, S, W) -> (N, T, W)."""
        start = 0 if cache is None else cache.length
        x = ops.embedding(input_ids, self.word, padding_idx=self.config.pad_token_id)
        x = self.dropout(x + self.position[start:start + input_ids.shape[1]])
        mask = padding_mask(decoder_attention_mask)
        for i, layer in enumerate(self.decoder):
            if states is not None:
                states.append(x)
            x = layer(x, encoded, mask, cache, i)
        return self.decoder_norm(x)

    def scores(self, x):
        """Hidden states (N, T, W) -> logits (N, T, V)."""
        return ops.linear(x, self.word)

    def forward(self, input_features=None, decoder_input_ids=None, decoder_attention_mask=None, encoder_outputs=None,
                past_key_values=None, labels=None, output_hidden_states=False):
        """Score what is written next.

        Args:
            input_features (N, M, 2S): log-mel spectrograms.
            decoder_input_ids (N, T), decoder_attention_mask (N, T): what has been written; 1 where a token counts.
            encoder_outputs (N, S, W): the encoder's states, if they are known.
            past_key_values: a Cache of the decoder.
            labels (N, T): what shall be written: with them there is a loss.
            output_hidden_states: give the decoder's, in front of each layer and behind the last norm.

        Returns:
            loss, logits (N, T, V), past_key_values, encoder_last_hidden_state, decoder_hidden_states.
        """
        encoded = self.encode(input_features) if encoder_outputs is None else encoder_outputs
        if decoder_input_ids is None and labels is not None:
            decoder_input_ids = shift_right(labels, self.config.decoder_start_token_id, self.config.pad_token_id)
        states = [] if output_hidden_states else None
        x = self.decode(decoder_input_ids, encoded, None, decoder_attention_mask, past_key_values, states)
        logits = self.scores(x)
        return Output(loss=cross_entropy(logits, labels), logits=logits, past_key_values=past_key_values,
                      encoder_last_hidden_state=encoded,
                      decoder_hidden_states=None if states is None else (*states, x))


whisper = family(WhisperForConditionalGeneration, "speech", "Radford et al. 2022, arXiv:2212.04356")
SIZES = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12), "medium": (1024, 24, 16),
         "large-v2": (1280, 32, 20), "large-v3": (1280, 32, 20)}


def _register(name, width, layers, heads, nets, **settings):
    def config():
        sides = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (
            ("layers", layers), ("ffn_dim", 4 * width), ("attention_heads", heads))}
        return WhisperConfig(d_model=width, **sides, **settings)

    whisper(*nets, name=f"whisper-{name}")(config)


for _name, _sizes in SIZES.items():
    _nets = [f"hf/openai-whisper-{_name}", *([{f"openai/whisper-{_name}": "openai"}] if "large" not in _name else [])]
    _register(_name, *_sizes, _nets, **({"vocab_size": 51866, "num_mel_bins": 128} if _name == "large-v3" else {}))
_register("tiny.en", *SIZES["tiny"], ["hf/openai-whisper-tiny.en", {"openai/whisper-tiny.en": "openai"}],
          vocab_size=51864, pad_token_id=50256, bos_token_id=50257, eos_token_id=50256, decoder_start_token_id=50257)
