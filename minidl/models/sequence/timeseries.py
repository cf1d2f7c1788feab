"""Time-series Transformer: what comes next, as a distribution.

Source: Vaswani et al. 2017, arXiv:1706.03762; inputs and outputs: Salinas et al. 2017, "DeepAR", arXiv:1704.04110, and
GluonTS (Alexandrov et al. 2019, arXiv:1906.05264); layout: Hugging Face's.
Differs from the papers: nothing beyond the combination of both.

    past values, lagged, scaled, with features of time and of the series (N,P,F) -> encoder;
    the same of the future (N,H,F), values so far -> decoder -> parameters of a distribution (N,H) each
"""
import math
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ...backend import random
from ...errors import ArgumentError, message
from ...tape import no_grad
from ...tensor import Tensor
from ..registry import family
from ..text.bart import Layer
from ..text.bert import TextModel
from ..text.config import TextConfig
from ..text.output import Output


@dataclass(frozen=True)
class TimeSeriesConfig(TextConfig):
    """Sizes of a time-series Transformer, under the names of Hugging Face's config.json."""

    prediction_length: int = 24
    context_length: int | None = None
    distribution_output: str = "student_t"
    input_size: int = 1
    lags_sequence: tuple = (1, 2, 3, 4, 5, 6, 7)
    scaling: str | bool | None = "mean"
    num_dynamic_real_features: int = 0
    num_static_categorical_features: int = 0
    num_static_real_features: int = 0
    num_time_features: int = 0
    cardinality: tuple = ()
    embedding_dimension: tuple = ()
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
    num_parallel_samples: int = 100
    init_std: float = 0.02

    model_type = "time_series_transformer"

    def __post_init__(self):
        if self.distribution_output not in DISTRIBUTIONS or self.scaling not in ("mean", "std", True, False, None) or (
                self.input_size != 1):
            expected = f"distribution_output one of {', '.join(DISTRIBUTIONS)}; scaling mean or std; one variable"
            raise ArgumentError(message("TimeSeriesConfig", "settings", expected,
                                        (self.distribution_output, self.scaling, self.input_size)))

    @property
    def initializer_range(self):
        """As BERT calls it."""
        return self.init_std

    @property
    def context(self):
        """Steps that the encoder sees."""
        return self.context_length or self.prediction_length

    @property
    def past_length(self):
        """Steps of the past that the model wants: those that the encoder sees, and the furthest lag."""
        return self.context + max(self.lags_sequence)

    @property
    def embeddings(self):
        """(classes, width) of each feature of the series that is a class."""
        widths = self.embedding_dimension or tuple(min(50, (n + 1) // 2) for n in self.cardinality)
        return tuple(zip(self.cardinality, widths)) if self.num_static_categorical_features else ()

    @property
    def feature_size(self):
        """Numbers per step: lags, the series' features, its scale and place, features of time."""
        return len(self.lags_sequence) + sum(width for _, width in self.embeddings) + self.num_dynamic_real_features + \
            self.num_time_features + self.num_static_real_features + 2

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(3, 5, lags_sequence=(1, 2), num_static_categorical_features=1, cardinality=(3,),
                   embedding_dimension=(2,), num_time_features=1, d_model=8, encoder_layers=1, encoder_ffn_dim=16,
                   decoder_layers=1, decoder_ffn_dim=16, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)


# -- distributions ---------------------------------------------------------------------------

def squareplus(x):
    """A smooth max(x, 0). Source: Barron 2021, arXiv:2112.11687, eq. 1."""
    return (x + ops.sqrt(x * x + 4.0)) / 2.0


def _scaled(x):
    return ops.maximum(squareplus(x), float(np.finfo(np.float32).eps))


class StudentT:
    """Heavy tails. Parameters: degrees of freedom, place, scale."""

    raw = 3

    @staticmethod
    def domain(df, loc, scale):
        """Any numbers as parameters."""
        return 2.0 + squareplus(df), loc, _scaled(scale)

    @staticmethod
    def log_prob(y, df, loc, scale):
        """Of y, element by element."""
        z = (y - loc) / scale
        norm = ops.log(scale) + 0.5 * ops.log(df) + 0.5 * math.log(math.pi) + ops.lgamma(0.5 * df) - ops.lgamma(
            0.5 * (df + 1.0))
        return -0.5 * (df + 1.0) * ops.log1p(z * z / df) - norm

    @staticmethod
    def draw(key, df, loc, scale):
        """A sample each; arrays."""
        rng = np.random.Generator(np.random.Philox(key=random.bits(np, key, 1)[0]))
        return loc + scale * rng.standard_t(df).astype(np.float32)


class Normal:
    """Parameters: place, scale."""

    raw = 2

    @staticmethod
    def domain(loc, scale):
        """Any numbers as parameters."""
        return loc, _scaled(scale)

    @staticmethod
    def log_prob(y, loc, scale):
        """Of y, element by element."""
        z = (y - loc) / scale
        return -0.5 * z * z - ops.log(scale) - 0.5 * math.log(2 * math.pi)

    @staticmethod
    def draw(key, loc, scale):
        """A sample each; arrays."""
        return loc + scale * random.normal(np, key, loc.shape)


DISTRIBUTIONS = {"student_t": StudentT, "normal": Normal}


# -- the network -----------------------------------------------------------------------------

def scaled(values, observed, how):
    """(place, scale), (N, 1) each, of values (N, P) where `observed` (N, P) is 1.

    Source: Salinas et al. 2017, arXiv:1704.04110, section 3.3: the mean of absolute values; "std": mean and deviation.
    """
    count = ops.sum(observed, 1, keepdims=True)
    some = ops.maximum(count, 1.0)
    if how == "std":
        loc = ops.sum(values * observed, 1, keepdims=True) / some
        gaps = (values - loc) * observed
        return loc, ops.sqrt(ops.sum(gaps * gaps, 1, keepdims=True) / some + 1e-5)
    if not how:
        return ops.zeros_like(count), ops.ones_like(count)
    total = ops.sum(ops.abs(values * observed), 1, keepdims=True)
    usual = ops.sum(total) / ops.maximum(ops.sum(count), 1.0)          # (of a series of which nothing is known)
    return ops.zeros_like(count), ops.maximum(ops.where(count > 0, total / some, usual), 1e-10)


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


class TimeSeriesTransformer(TextModel):
    """The network of the module's docstring."""

    config_class = TimeSeriesConfig
    layouts = {"huggingface": (*stack_rows("encoder"), *stack_rows("decoder"),
                               ("model.embedder.embedders.{i}.*", "embedders.{i}.*"),
                               ("parameter_projection.proj.{i}.*", "parameters_of.{i}.*"))}
    architectures = ("TimeSeriesTransformerForPrediction",)

    def __init__(self, config):
        c = self.config = config
        self.embedders = nn.ModuleList(nn.Embedding(n, width) for n, width in c.embeddings)
        self.encoder, self.decoder = Stack(c, "encoder"), Stack(c, "decoder")
        self.distribution = DISTRIBUTIONS[c.distribution_output]
        self.parameters_of = nn.ModuleList(nn.Linear(c.d_model, 1) for _ in range(self.distribution.raw))
        self.initialize()

    def inputs(self, values, times, loc, scale, static_categorical=None, static_real=None, first=0):
        """Numbers per step (N, T, F) of scaled values (N, L), which end where the last lag of the last step does.

        Args:
            values: with those of the lags in front; of step t lag l is values[first + t - l].
            times (N, T, _): features of time.
            loc, scale (N, 1): of the series.
        """
        steps = times.shape[1]
        lagged = ops.stack([values[:, first - lag:first - lag + steps] for lag in self.config.lags_sequence], 2)
        series = [embed(static_categorical[:, i]) for i, embed in enumerate(self.embedders)]
        series += [] if static_real is None else [static_real]
        series = ops.concat([*series, ops.log1p(ops.abs(loc)), ops.log(scale)], 1)
        series = ops.broadcast_to(ops.expand_dims(series, 1), (len(values), steps, series.shape[1]))
        return ops.concat([lagged, series, times], 2)

    def _scales(self, past_values, past_observed_mask):
        values = past_values[:, past_values.shape[1] - self.config.context:]
        if past_observed_mask is None:
            return scaled(values, ops.ones_like(values), self.config.scaling)
        mask = past_observed_mask[:, past_values.shape[1] - self.config.context:]
        return scaled(values, mask.astype(values.dtype), self.config.scaling)

    def _project(self, x):
        return self.distribution.domain(*(layer(x)[:, :, 0] for layer in self.parameters_of))

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
        loc, scale = self._scales(past_values, past_observed_mask)
        every = (ops.concat([past_values, future_values], 1) - loc) / scale
        begin = past_values.shape[1] - self.config.context
        times = ops.concat([past_time_features[:, begin:], future_time_features], 1)
        x = self.inputs(every, times, loc, scale, static_categorical_features, static_real_features, begin)
        encoded = self.encoder(x[:, :self.config.context])
        y = self.decoder(x[:, self.config.context:], self.config.context, encoded)
        params = self._project(y)
        likelihood = self.distribution.log_prob((future_values - loc) / scale, *params) - ops.log(scale)
        weight = ops.ones_like(likelihood) if future_observed_mask is None else future_observed_mask
        loss = -ops.sum(likelihood * weight) / ops.maximum(ops.sum(weight), 1.0)
        return Output(loss=loss, params=params, loc=loc, scale=scale, encoder_last_hidden_state=encoded,
                      last_hidden_state=y)

    def generate(self, past_values, past_time_features, future_time_features, past_observed_mask=None,
                 static_categorical_features=None, static_real_features=None, num_samples=None, seed=None):
        """Draw what may come next, step by step: (N, samples, H).

        Args:
            As of `forward`.
            num_samples: futures of each series; None: as the config has it.
            seed: of drawing; None: from minidl's default generator.
        """
        count, c = num_samples or self.config.num_parallel_samples, self.config
        key = random.default().next_key() if seed is None else random.key(seed)
        training = self.training
        self.eval()
        with no_grad():
            loc, scale = self._scales(past_values, past_observed_mask)
            given = [None if t is None else Tensor(np.repeat(t.numpy(), count, 0)) for t in (
                (past_values - loc) / scale, past_time_features, future_time_features, loc, scale,
                static_categorical_features, static_real_features)]
            past, past_times, future_times, loc, scale, *series = given
            begin = past.shape[1] - c.context
            x = self.inputs(past, past_times[:, begin:], loc, scale, *series, begin)
            encoded = self.encoder(x)
            for step in range(future_times.shape[1]):
                x = self.inputs(past, future_times[:, :step + 1], loc, scale, *series, begin + c.context)
                params = self._project(self.decoder(x, c.context, encoded)[:, -1:])
                drawn = self.distribution.draw(random.fold_in(key, step), *(q.numpy() for q in params))
                past = ops.concat([past, Tensor(drawn.astype(np.float32))], 1)
            futures = past[:, begin + c.context:] * scale + loc
        self.train(training)
        return futures.reshape((-1, count, future_times.shape[1]))


forecasting = family(TimeSeriesTransformer, "forecasting",
                     "Vaswani et al. 2017, arXiv:1706.03762; Salinas et al. 2017, arXiv:1704.04110")


@forecasting("hf/time-series-transformer-tourism-monthly", name="time-series-transformer-tourism-monthly")
def tourism_monthly():
    """366 monthly series, two years ahead."""
    return TimeSeriesConfig(24, 48, num_time_features=2, num_static_categorical_features=1, cardinality=(366,),
                            embedding_dimension=(6,), d_model=32, encoder_layers=4, decoder_layers=4)
