"""Time-series Transformer: what comes next, as a distribution.

Source: Vaswani et al. 2017, arXiv:1706.03762; inputs and outputs: Salinas et al. 2017, "DeepAR", arXiv:1704.04110, and
GluonTS (Alexandrov et al. 2019, arXiv:1906.05264); layout: Hugging Face's.
Differs from the papers: nothing beyond the combination of both.

    past values, lagged, scaled, with features of time and of the series (N,P,F) -> encoder;
    the same of the future (N,H,F), values so far -> decoder -> parameters of a distribution (N,H) each
"""
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ..registry import family
from ..text.bart import Layer
from ..text.bert import TextModel
from ..text.config import TextConfig
from ..text.output import Output
from .series import SeriesConfig, SeriesModel


@dataclass(frozen=True)
class TimeSeriesConfig(SeriesConfig, TextConfig):
    """Sizes of a time-series Transformer, under the names of Hugging Face's config.json."""

    d_model: int = 64
    encoder_layers: int = 2
    encoder_ffn_dim: int = 32
    encoder_attention_heads: int = 2
    decoder_layers: int = 2
    decoder_ffn_dim: int = 32
    decoder_attention_heads: int = 2
    activation_function: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.1
    init_std: float = 0.02

    model_type = "time_series_transformer"

    @classmethod
    def from_hf(cls, told):
        """The config that a config.json tells, a dict; there null means that nothing is scaled."""
        return super().from_hf({**told, "scaling": told.get("scaling", "mean") or False})

    @property
    def initializer_range(self):
        """As BERT calls it."""
        return self.init_std

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(3, 5, lags_sequence=(1, 2), num_static_categorical_features=1, cardinality=(3,),
                   embedding_dimension=(2,), num_time_features=1, d_model=8, encoder_layers=1, encoder_ffn_dim=16,
                   decoder_layers=1, decoder_ffn_dim=16, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)


def places(count, width):
    """Sines, then cosines (count, width). Vaswani et al.: section 3.5."""
    angle = np.arange(count)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)
    return np.concatenate([np.sin(angle[:, 0::2]), np.cos(angle[:, 1::2])], 1).astype(np.float32)


class Stack(nn.Module):
    """One side: values, places, a norm, Layers."""

    def __init__(self, config, side):
        c = config
        self.value = nn.Linear(c.feature_size, c.d_model, bias=False)
        self.position = nn.Parameter(places(c.context + c.prediction_length, c.d_model), requires_grad=False)
        self.norm, self.dropout = nn.LayerNorm(c.d_model), nn.Dropout(c.dropout)
        self.layers = nn.ModuleList(Layer(c, side, False) for _ in range(getattr(c, f"{side}_layers")))

    def forward(self, x, start=0, encoded=None):
        """x (N, T, F), whose first step has the place `start` -> (N, T, W)."""
        x = self.dropout(self.norm(self.value(x) + self.position[start:start + x.shape[1]]))
        for layer in self.layers:
            x = layer(x, None, encoded)
        return x


def stack_rows(side):
    """Hugging Face's names of one side."""
    at, here = f"model.{side}.layers.{{i}}.", f"{side}.layers.{{i}}."
    return ((f"model.{side}.value_embedding.value_projection.*", f"{side}.value.*"),
            (f"model.{side}.embed_positions.weight", f"{side}.position"),
            (f"model.{side}.layernorm_embedding.*", f"{side}.norm.*"),
            (at + "self_attn.[q_proj|k_proj|v_proj].*", here + "attention.qkv.*"),
            (at + "self_attn.out_proj.*", here + "attention.out.*"),
            (at + "self_attn_layer_norm.*", here + "norm1.*"), (at + "encoder_attn.q_proj.*", here + "cross.q.*"),
            (at + "encoder_attn.[k_proj|v_proj].*", here + "cross.kv.*"),
            (at + "encoder_attn.out_proj.*", here + "cross.out.*"),
            (at + "encoder_attn_layer_norm.*", here + "norm2.*"), (at + "fc1.*", here + "fc1.*"),
            (at + "fc2.*", here + "fc2.*"), (at + "final_layer_norm.*", here + "norm3.*"))


class TimeSeriesTransformer(SeriesModel, TextModel):
    """The network of the module's docstring."""

    config_class = TimeSeriesConfig
    layouts = {"huggingface": (*stack_rows("encoder"), *stack_rows("decoder"),
                               ("model.embedder.embedders.{i}.*", "embedders.{i}.*"),
                               ("parameter_projection.proj.{i}.*", "parameters_of.{i}.*"))}
    architectures = ("TimeSeriesTransformerForPrediction",)

    def __init__(self, config):
        c = self.config = config
        self.encoder, self.decoder = Stack(c, "encoder"), Stack(c, "decoder")
        self.make_ends(c.d_model)
        self.initialize()

    def begin(self, x):
        """The encoder's states (N, C, W)."""
        return self.encoder(x)

    def go_on(self, x, state):
        """x (N, H, F), encoder's states -> (of the last step (N, 1, W), the encoder's states)."""
        return self.decoder(x, self.config.context, state)[:, -1:], state

    def forward(self, past_values, past_time_features, past_observed_mask=None, static_categorical_features=None,
                static_real_features=None, future_values=None, future_time_features=None, future_observed_mask=None):
        """Parameters of what comes next, each step seeing the true values in front of it.

        Args:
            past_values (N, P), past_observed_mask (N, P): P = `past_length` steps; 1 where a value was seen.
            past_time_features (N, P, _), future_time_features (N, H, _).
            static_categorical_features (N, _), static_real_features (N, _): of the series.
            future_values (N, H), future_observed_mask (N, H): what came.

        Returns:
            loss (mean negative log likelihood), params, loc and scale (N, 1), encoder_last_hidden_state (N, C, W),
            last_hidden_state (N, H, W).
        """
        loc, scale = self.scales(past_values, past_observed_mask)
        every = (ops.concat([past_values, future_values], 1) - loc) / scale
        begin = past_values.shape[1] - self.config.context
        times = ops.concat([past_time_features[:, begin:], future_time_features], 1)
        x = self.numbers(every, times, loc, scale, static_categorical_features, static_real_features, begin)
        encoded = self.encoder(x[:, :self.config.context])
        y = self.decoder(x[:, self.config.context:], self.config.context, encoded)
        params = self.project(y, scale)
        loss = self.nll(future_values, future_observed_mask, loc, scale, params)
        return Output(loss=loss, params=params, loc=loc, scale=scale, encoder_last_hidden_state=encoded,
                      last_hidden_state=y)


forecasting = family(TimeSeriesTransformer, "forecasting",
                     "Vaswani et al. 2017, arXiv:1706.03762; Salinas et al. 2017, arXiv:1704.04110")


@forecasting("hf/time-series-transformer-tourism-monthly", name="time-series-transformer-tourism-monthly")
def tourism_monthly():
    """366 monthly series, two years ahead."""
    return TimeSeriesConfig(24, 48, num_time_features=2, num_static_categorical_features=1, cardinality=(366,),
                            embedding_dimension=(6,), d_model=32, encoder_layers=4, decoder_layers=4)
