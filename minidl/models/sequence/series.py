"""What networks that forecast have in common: what they see of a series, and how they draw its future.

Source: Salinas et al. 2017, "DeepAR", arXiv:1704.04110, section 3; GluonTS (Alexandrov et al. 2019, arXiv:1906.05264).

    values, lagged, scaled, with features of time and of the series (N,T,F) -> a network -> parameters of a distribution
"""
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ...backend import random
from ...errors import ArgumentError, ShapeError, message
from ...tape import no_grad
from ...tensor import Tensor
from ..config import ModelConfig
from ..model import Model
from .distributions import DISTRIBUTIONS


@dataclass(frozen=True)
class SeriesConfig(ModelConfig):
    """What a network sees and gives, under the names of Hugging Face's config.json.

    Args:
        prediction_length: steps of the future.
        context_length: steps of the past; None: as many.
        distribution_output: student_t, normal or negative_binomial (counts).
        input_size: numbers per step.
        lags_sequence: which earlier values each step sees.
        scaling: "mean" (of absolute values; True is the same), "std" (mean and deviation), or None.
        num_*: features of time and of series.
        cardinality, embedding_dimension: classes, and widths of their embeddings.
        num_parallel_samples: futures that `generate` draws.
    """

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
    num_parallel_samples: int = 100

    def __post_init__(self):
        if self.distribution_output not in DISTRIBUTIONS or self.scaling not in ("mean", "std", True, False, None):
            expected = f"distribution_output one of {', '.join(DISTRIBUTIONS)}; scaling mean, std or none"
            raise ArgumentError(message(type(self).__name__, "settings", expected,
                                        (self.distribution_output, self.scaling)))
        if not self.lags_sequence or min(self.lags_sequence) < 1:
            raise ArgumentError(message(type(self).__name__, "lags_sequence", "at least one lag, each 1 or more",
                                        self.lags_sequence))

    @property
    def context(self):
        """Steps of the past that the network runs over."""
        return self.context_length or self.prediction_length

    @property
    def past_length(self):
        """Steps of the past that the model wants: those that it runs over, and the furthest lag."""
        return self.context + max(self.lags_sequence)

    @property
    def embeddings(self):
        """(classes, width) of each feature of the series that is a class."""
        widths = self.embedding_dimension or tuple(min(50, (n + 1) // 2) for n in self.cardinality)
        return tuple(zip(self.cardinality, widths)) if self.num_static_categorical_features else ()

    @property
    def feature_size(self):
        """Numbers per step: lags, the series' features, its scale and place, features of time."""
        return self.input_size * (len(self.lags_sequence) + 2) + sum(width for _, width in self.embeddings) + \
            self.num_dynamic_real_features + self.num_time_features + self.num_static_real_features


def scaled(values, observed, how):
    """(place, scale), (N, 1) each, of values (N, P) where `observed` (N, P) is 1; with more axes, of each number.

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
    usual = ops.sum(total, 0) / ops.maximum(ops.sum(count, 0), 1.0)    # (of a series of which nothing is known)
    return ops.zeros_like(count), ops.maximum(ops.where(count > 0, total / some, usual), 1e-10)


class SeriesModel(Model):
    """A network that forecasts. A subclass defines `begin`, `go_on` and `forward`.

    With input_size D above 1, values are (N, T, D), and so are parameters, loc and scale (N, 1, D).
    """

    def make_ends(self, width):
        """Embeddings of classes, and the layers from `width` numbers per step to parameters."""
        c = self.config
        self.embedders = nn.ModuleList(nn.Embedding(n, width) for n, width in c.embeddings)
        self.distribution = DISTRIBUTIONS[c.distribution_output]
        self.parameters_of = nn.ModuleList(nn.Linear(width, c.input_size) for _ in range(self.distribution.raw))

    def begin(self, x):
        """The state behind the context x (N, C, F)."""
        raise NotImplementedError(message(type(self).__name__, "begin", "a method of this name", "none"))

    def go_on(self, x, state):
        """x (N, H, F), all steps of the future so far -> (of the last one (N, 1, W), the state behind it)."""
        raise NotImplementedError(message(type(self).__name__, "go_on", "a method of this name", "none"))

    def numbers(self, values, times, loc, scale, static_categorical=None, static_real=None, first=0):
        """Numbers per step (N, T, F) of scaled values (N, L), which end where the last lag of the last step does.

        Args:
            values: with those of the lags in front; of step t lag l is values[first + t - l].
            times (N, T, _): features of time.
            loc, scale (N, 1): of the series.
        """
        n, steps = times.shape[:2]
        lagged = [values[:, first - lag:first - lag + steps] for lag in self.config.lags_sequence]
        lagged = ops.stack(lagged, -1).reshape((n, steps, -1))
        series = [embed(static_categorical[:, i]) for i, embed in enumerate(self.embedders)]
        series += [] if static_real is None else [static_real]
        series += [ops.log1p(ops.abs(loc)).reshape((n, -1)), ops.log(scale).reshape((n, -1))]
        series = ops.concat(series, 1)
        series = ops.broadcast_to(ops.expand_dims(series, 1), (n, steps, series.shape[1]))
        return ops.concat([lagged, series, times], 2)

    def scales(self, past_values, past_observed_mask=None):
        """(loc, scale), (N, 1) each, of the context.

        Raises:
            ShapeError: the past is shorter than `past_length`.
        """
        if past_values.shape[1] < self.config.past_length:
            expected = f"at least {self.config.past_length} steps, the context and the furthest lag"
            raise ShapeError(message(type(self).__name__, "past_values", expected, past_values.shape[1]))
        values = past_values[:, past_values.shape[1] - self.config.context:]
        mask = ops.ones_like(values) if past_observed_mask is None else (
            past_observed_mask[:, past_values.shape[1] - self.config.context:].astype(values.dtype))
        return scaled(values, mask, self.config.scaling)

    def project(self, x, scale):
        """x (N, H, W) -> parameters (N, H) of what comes, each."""
        raw = [layer(x) for layer in self.parameters_of]
        raw = [y[:, :, 0] for y in raw] if self.config.input_size == 1 else raw
        return self.distribution.placed(scale, *self.distribution.domain(*raw))

    def nll(self, values, observed, loc, scale, params):
        """The mean negative log likelihood of values (N, H), where they were seen."""
        likelihood = self.distribution.log_prob(values, loc, scale, *params)
        weight = ops.ones_like(likelihood) if observed is None else observed
        if self.config.input_size > 1:
            likelihood, weight = ops.sum(likelihood, -1), ops.min(weight, -1)
        return -ops.sum(likelihood * weight) / ops.maximum(ops.sum(weight), 1.0)

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
        training, device = self.training, next(self.parameters()).device
        self.eval()
        with no_grad():
            loc, scale = self.scales(past_values, past_observed_mask)
            given = [None if t is None else Tensor(np.repeat(t.numpy(), count, 0)).to(device) for t in (
                (past_values - loc) / scale, past_time_features, future_time_features, loc, scale,
                static_categorical_features, static_real_features)]
            past, past_times, future_times, loc, scale, *series = given
            begin, futures = past.shape[1] - c.context, []
            state = self.begin(self.numbers(past, past_times[:, begin:], loc, scale, *series, begin))
            for step in range(future_times.shape[1]):
                x = self.numbers(past, future_times[:, :step + 1], loc, scale, *series, begin + c.context)
                y, state = self.go_on(x, state)
                params = [q.numpy() for q in (loc, scale, *self.project(y, scale))]
                futures.append(self.distribution.draw(random.fold_in(key, step), *params))
                past = ops.concat([past, (Tensor(futures[-1]).to(device) - loc) / scale], 1)
        self.train(training)
        futures = np.concatenate(futures, 1)
        return Tensor(futures.reshape(-1, count, *futures.shape[1:]))
