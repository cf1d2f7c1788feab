"""wav2vec 2.0: speech representations from raw waves, and letters from those.

Source: Baevski, Zhou, Mohamed, Auli 2020, "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
Representations", arXiv:2006.11477; CTC: Graves et al. 2006.
Differs from the paper: nothing; places are a convolution with weight norm over its taps, as in the authors' code.

    wave (N,L) -> 7 convolutions (N,C,T) -> norm, projection -> + convolved places -> Layers -> scores (N,T,V)
"""
from dataclasses import dataclass

from ... import nn, ops
from ...tensor import Tensor
from ..registry import family
from ..text.attention import SelfAttention, padding_mask
from ..text.bert import TextModel
from ..text.config import TextConfig, activation
from ..text.output import Output


@dataclass(frozen=True)
class Wav2Vec2Config(TextConfig):
    """Sizes of a wav2vec 2.0, under the names of Hugging Face's config.json."""

    vocab_size: int = 32
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float = 0.1
    activation_dropout: float = 0.1
    attention_dropout: float = 0.1
    feat_proj_dropout: float = 0.0
    final_dropout: float = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    feat_extract_norm: str = "group"
    conv_dim: tuple = (512,) * 7
    conv_stride: tuple = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False
    pad_token_id: int = 0
    num_codevectors_per_group: int = 320
    num_codevector_groups: int = 2
    codevector_dim: int = 256
    proj_codevector_dim: int = 256
    contrastive_logits_temperature: float = 0.1
    num_negatives: int = 100
    diversity_loss_weight: float = 0.1
    feat_quantizer_dropout: float = 0.0

    model_type = "wav2vec2"

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(12, 8, 1, 2, 16, conv_dim=(6, 6), conv_stride=(5, 2), conv_kernel=(10, 3), num_conv_pos_embeddings=4,
                   num_conv_pos_embedding_groups=2, hidden_dropout=0.0, activation_dropout=0.0, attention_dropout=0.0,
                   final_dropout=0.0, num_codevectors_per_group=4, codevector_dim=6, proj_codevector_dim=5,
                   num_negatives=3)


class ConvLayer(nn.Module):
    """A convolution, perhaps a norm, a GELU. Paper: section 2, "Feature encoder"."""

    def __init__(self, inputs, outputs, kernel, stride, bias, norm):
        self.conv, self.norm = nn.Conv1d(inputs, outputs, kernel, stride, bias=bias), norm

    def forward(self, x):
        """x (N, I, L) -> (N, O, L')."""
        x = self.conv(x)
        if isinstance(self.norm, nn.LayerNorm):
            return ops.gelu(self.norm(x.mT).mT)
        return ops.gelu(x if self.norm is None else self.norm(x))


class ConvPositions(nn.Module):
    """A wide convolution over groups of channels: what is where. Its filters have a length for each tap."""

    def __init__(self, width, taps, groups):
        fresh = nn.Conv1d(width, width, taps, padding=taps // 2, groups=groups)
        self.weight_v, self.bias, self.taps, self.groups = fresh.weight, fresh.bias, taps, groups
        self.weight_g = nn.Parameter(ops.vector_norm(fresh.weight.detach(), (0, 1), keepdims=True))

    def forward(self, x):
        """x (N, T, W) -> (N, T, W)."""
        weight = ops.weight_norm(self.weight_v, self.weight_g, 2)
        y = ops.conv1d(x.mT, weight, self.bias, 1, self.taps // 2, 1, self.groups)
        return ops.gelu(y[:, :, :x.shape[1]].mT)       # (an even number of taps makes a step too many)


class Layer(nn.Module):
    """Attention and a feed-forward net, each added to its input, the norms in front or behind."""

    def __init__(self, config):
        c = config
        self.attention = SelfAttention(c.hidden_size, c.num_attention_heads, dropout=c.attention_dropout)
        self.norm1, self.norm2 = (nn.LayerNorm(c.hidden_size, c.layer_norm_eps) for _ in range(2))
        self.fc1 = nn.Linear(c.hidden_size, c.intermediate_size)
        self.fc2 = nn.Linear(c.intermediate_size, c.hidden_size)
        self.act, self.first = activation(c.hidden_act), c.do_stable_layer_norm
        self.dropout, self.inner_dropout = nn.Dropout(c.hidden_dropout), nn.Dropout(c.activation_dropout)

    def _feed(self, x):
        return self.dropout(self.fc2(self.inner_dropout(self.fc1(x, self.act))))

    def forward(self, x, mask=None):
        """x (N, T, W) -> (N, T, W)."""
        if self.first:
            x = x + self.dropout(self.attention(self.norm1(x), mask))
            return x + self._feed(self.norm2(x))
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        return self.norm2(x + self._feed(x))


def rows(official, ours):
    """Hugging Face's names below these prefixes."""
    at, here = f"{official}encoder.layers.{{i}}.", f"{ours}layers.{{i}}."
    return ((f"{official}masked_spec_embed", f"{ours}masked"),
            (f"{official}feature_extractor.conv_layers.{{i}}.conv.*", f"{ours}convolutions.{{i}}.conv.*"),
            (f"{official}feature_extractor.conv_layers.{{i}}.layer_norm.*", f"{ours}convolutions.{{i}}.norm.*"),
            (f"{official}feature_projection.layer_norm.*", f"{ours}feature_norm.*"),
            (f"{official}feature_projection.projection.*", f"{ours}projection.*"),
            (f"{official}encoder.pos_conv_embed.conv.parametrizations.weight.original0", f"{ours}positions.weight_g",
             "old"),
            (f"{official}encoder.pos_conv_embed.conv.parametrizations.weight.original1", f"{ours}positions.weight_v",
             "old"),
            (f"{official}encoder.pos_conv_embed.conv.*", f"{ours}positions.*"),
            (f"{official}encoder.layer_norm.*", f"{ours}norm.*"),
            (at + "attention.[q_proj|k_proj|v_proj].*", here + "attention.qkv.*"),
            (at + "attention.out_proj.*", here + "attention.out.*"), (at + "layer_norm.*", here + "norm1.*"),
            (at + "feed_forward.intermediate_dense.*", here + "fc1.*"),
            (at + "feed_forward.output_dense.*", here + "fc2.*"), (at + "final_layer_norm.*", here + "norm2.*"))


class Wav2Vec2Model(TextModel):
    """From waves to hidden states."""

    config_class = Wav2Vec2Config
    layouts = {"huggingface": rows("", "")}
    architectures = ("Wav2Vec2Model",)
    base_prefix = "wav2vec2."

    def __init__(self, config):
        c = self.config = config
        self.masked = nn.Parameter(nn.init.uniform(), c.hidden_size)
        self.convolutions, inputs = nn.ModuleList(), 1
        for i, (outputs, kernel, stride) in enumerate(zip(c.conv_dim, c.conv_kernel, c.conv_stride)):
            norm = nn.LayerNorm(outputs) if c.feat_extract_norm == "layer" else nn.GroupNorm(
                outputs, outputs) if i == 0 else None
            self.convolutions.append(ConvLayer(inputs, outputs, kernel, stride, c.conv_bias, norm))
            inputs = outputs
        self.feature_norm, self.projection = nn.LayerNorm(inputs, c.layer_norm_eps), nn.Linear(inputs, c.hidden_size)
        self.feature_dropout, self.dropout = nn.Dropout(c.feat_proj_dropout), nn.Dropout(c.hidden_dropout)
        self.positions = ConvPositions(c.hidden_size, c.num_conv_pos_embeddings, c.num_conv_pos_embedding_groups)
        self.norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.initialize()

    def features(self, input_values):
        """input_values (N, L) -> what the convolutions give (N, C, T)."""
        x = ops.expand_dims(input_values, 1)
        for layer in self.convolutions:
            x = layer(x)
        return x

    def lengths(self, samples):
        """How many steps so many samples become; integers, or an array of them."""
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride):
            samples = (samples - kernel) // stride + 1
        return samples

    def step_mask(self, attention_mask, steps):
        """attention_mask (N, L), 1 where a sample counts, at the front -> (N, steps), bool."""
        ends = self.lengths(ops.sum(attention_mask.astype("int64"), 1))
        return ops.arange(steps, device=attention_mask.device) < ops.expand_dims(ends, 1)

    def forward(self, input_values, attention_mask=None, mask_time_indices=None, output_hidden_states=False):
        """Encode waves.

        Args:
            input_values (N, L): waves, 16,000 samples a second, mean 0 and variance 1.
            attention_mask (N, L): 1 where a sample counts, 0 where it is padding, which is behind.
            mask_time_indices (N, T): bool: steps that a learnt vector stands in for.
            output_hidden_states: give what is in front of the first layer and behind each, too.

        Returns:
            last_hidden_state (N, T, W), extract_features (N, C, T), hidden_states.
        """
        features = self.features(input_values)
        x = self.feature_dropout(self.projection(self.feature_norm(features.mT)))
        if mask_time_indices is not None:
            x = ops.where(ops.expand_dims(mask_time_indices, 2), self.masked, x)
        mask = None
        if attention_mask is not None:
            there = self.step_mask(attention_mask, x.shape[1])
            x, mask = ops.where(ops.expand_dims(there, 2), x, 0.0), padding_mask(there)
        x = x + self.positions(x)
        x = self.dropout(x if self.config.do_stable_layer_norm else self.norm(x))
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], mask))
        if self.config.do_stable_layer_norm:
            states[-1] = self.norm(states[-1])
        return Output(last_hidden_state=states[-1], extract_features=features,
                      hidden_states=tuple(states) if output_hidden_states else None)


class Wav2Vec2ForCTC(TextModel):
    """Scores of letters for every step, trained by CTC."""

    config_class = Wav2Vec2Config
    layouts = {"huggingface": rows("wav2vec2.", "encoder.")}
    architectures = ("Wav2Vec2ForCTC",)
    base_prefix = "wav2vec2."

    def __init__(self, config):
        self.config, self.encoder = config, Wav2Vec2Model(config)
        self.dropout, self.lm_head = nn.Dropout(config.final_dropout), nn.Linear(config.hidden_size, config.vocab_size)
        nn.init.normal_(self.lm_head.weight, std=config.initializer_range)
        nn.init.zeros_(self.lm_head.bias)

    def forward(self, input_values, attention_mask=None, mask_time_indices=None, labels=None,
                output_hidden_states=False):
        """As of Wav2Vec2Model, and labels (N, S), -100 behind their ends: with them there is a loss.

        Returns:
            loss (the sum over the batch), logits (N, T, V), hidden_states.
        """
        encoded = self.encoder(input_values, attention_mask, mask_time_indices, output_hidden_states)
        logits = self.lm_head(self.dropout(encoded.last_hidden_state))
        return Output(loss=None if labels is None else self._loss(logits, labels, input_values, attention_mask),
                      logits=logits, extract_features=encoded.extract_features, hidden_states=encoded.hidden_states)

    def _loss(self, logits, labels, input_values, attention_mask):
        samples = Tensor([input_values.shape[1]] * len(labels)) if attention_mask is None else ops.sum(
            attention_mask.astype("int64"), 1)
        counted = labels >= 0
        return ops.ctc_loss(ops.permute_dims(ops.log_softmax(logits, -1), (1, 0, 2)), ops.where(counted, labels, 0),
                            self.encoder.lengths(samples), ops.sum(counted.astype("int64"), 1),
                            blank=self.config.pad_token_id, reduction="sum")


ctc = family(Wav2Vec2ForCTC, "speech", "Baevski et al. 2020, arXiv:2006.11477")
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


@ctc("hf/facebook-wav2vec2-base-960h", name="wav2vec2-base-960h")
def wav2vec2_base_960h():
    """12 layers; English letters."""
    return Wav2Vec2Config()


@ctc("hf/facebook-wav2vec2-large-960h", name="wav2vec2-large-960h")
def wav2vec2_large_960h():
    """24 layers; English letters."""
    return Wav2Vec2Config(**LARGE)


@ctc("hf/facebook-wav2vec2-large-960h-lv60-self", name="wav2vec2-large-960h-lv60-self")
def wav2vec2_large_960h_lv60_self():
    """24 layers, norms in front; English letters."""
    return Wav2Vec2Config(**LARGE, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
