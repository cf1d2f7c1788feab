"""Forecaster: from a series to what comes next, with its uncertainty.

    forecast = Forecaster("lstm", horizon=12, season=12).fit(values).predict()
    forecast.median, forecast.quantile(0.9)                # (12) each

    values -> windows, each less its mean and over its deviation -> networks of the zoo -> futures, scaled back

Source: windows that are scaled by themselves: Kim et al. 2022, "Reversible Instance Normalization", ICLR; networks that
share in a forecast: Lakshminarayanan et al. 2016, "Deep Ensembles", arXiv:1612.01474.
"""
from statistics import NormalDist

import numpy as np

from .. import optim
from ..backend import random
from ..errors import ArgumentError, message, number
from ..models.config import near
from ..models.sequence.deepar import DeepAR, DeepARConfig
from ..models.sequence.distributions import DISTRIBUTIONS
from ..models.sequence.timeseries import TimeSeriesConfig, TimeSeriesTransformer
from ..tensor import Tensor
from .trainer import Trainer


def _deepar(core, layers):
    return lambda hidden, **c: DeepAR(DeepARConfig(core=core, layers=layers, hidden=hidden, **c))


def _transformer(hidden, dropout, **c):
    hidden += hidden % 2                               # (of two heads)
    return TimeSeriesTransformer(TimeSeriesConfig(
        d_model=hidden, encoder_ffn_dim=2 * hidden, decoder_ffn_dim=2 * hidden, dropout=dropout,
        attention_dropout=dropout, activation_dropout=dropout, **c))


LEVELS = tuple(round(0.1 * i, 1) for i in range(1, 10))

MODELS = {"lstm": _deepar("lstm", 2), "gru": _deepar("gru", 2), "tcn": _deepar("tcn", 4), "transformer": _transformer}


class Forecast:
    """What may come: samples (S, H), futures of H steps each, all equally likely."""

    def __init__(self, samples):
        self.samples = samples

    @property
    def mean(self):
        """(H)."""
        return self.samples.mean(0)

    @property
    def median(self):
        """(H): what misses by the least, on average."""
        return self.quantile(0.5)

    def quantile(self, q):
        """(H), or (Q, H) of several: what stays below with probability q.

        Raises:
            ArgumentError: q is not in [0, 1].
        """
        if not np.all((np.asarray(q) >= 0) & (np.asarray(q) <= 1)):
            raise ArgumentError(message("quantile", "q", "probabilities in [0, 1]", q))
        return np.quantile(self.samples, q, axis=0)

    def mase(self, actual, history, season=1):
        """How far the median is off, over what repeating the last season would have missed in the past by.

        Args:
            actual (H): what came.
            history (T): what was known.
            season: steps.

        Source: Hyndman, Koehler 2006, "Another look at measures of forecast accuracy", eq. 8.
        """
        return float(np.abs(actual - self.median).mean() / _scale("mase", history, season))

    def pinball(self, actual, history, season=1, levels=LEVELS):
        """Pinball loss of the quantiles at `levels`, their mean, over the scale of `mase`: of intervals, too.

        Source: Koenker, Bassett 1978, "Regression Quantiles"; scaled: Makridakis et al. 2022, "The M5 uncertainty
        competition", section 2.
        """
        levels = np.asarray(levels)[:, None]
        gaps = actual - self.quantile(levels[:, 0])
        return float(np.maximum(levels * gaps, (levels - 1) * gaps).mean() / _scale("pinball", history, season))


def seasonal_naive(history, horizon, season=1, samples=200):
    """The Forecast that the last season comes again, as far off as seasons were from the ones before: normal quantiles.

    Args:
        history (T): more than a season.

    Raises:
        ArgumentError: it is no more.

    Source: Hyndman, Athanasopoulos 2021, "Forecasting: Principles and Practice", sections 5.2 and 5.5.
    """
    missed = np.sqrt(np.square(_season_gaps("seasonal_naive", history, season)).mean())
    again = np.asarray(history, np.float64)[len(history) - season + np.arange(horizon) % season]
    spread = missed * np.sqrt(1 + np.arange(horizon) // season)
    z = [NormalDist().inv_cdf((i + 0.5) / samples) for i in range(samples)]
    return Forecast(again + spread * np.array(z)[:, None])


def _season_gaps(op, history, season):
    """How far each value of history (T) is from the one a season before: (T - season)."""
    history = np.asarray(history, np.float64)
    number(op, "season", season, 1, whole=True)
    if len(history) <= season:
        raise ArgumentError(message(op, "history", f"more than a season of {season}", f"{len(history)} values"))
    return history[season:] - history[:-season]


def _scale(op, history, season):
    """What repeating the last season misses by."""
    return max(np.abs(_season_gaps(op, history, season)).mean(), np.finfo(np.float64).tiny)


class Forecaster:
    """Learns from a series, or from several that are alike, and forecasts.

    Args:
        model: "lstm", "gru", "tcn" (DeepAR on each) or "transformer" (the time-series Transformer).
        horizon: steps to forecast.
        season: steps after which the series repeats itself, more or less: 12 of months; 1: it does not.
        context: steps of the past that the network runs over; None: the longer of two seasons and twice the horizon,
            at most a third of the shortest series.
        distribution: "student_t", "normal", or "negative_binomial", of counts.
        hidden, dropout: of each network.
        members: networks, each trained from other weights on other windows, that each draw their share of futures.
        steps, batch, lr, weight_decay: of training: windows are drawn at random; the rate goes up and down once.
        seed: the same gives the same bits.
        callbacks: of the Trainer.

    Raises:
        ArgumentError: an argument is not of that kind, or out of its range.
    """

    def __init__(self, model="lstm", horizon=12, season=1, *, context=None, distribution="student_t", hidden=16,
                 dropout=0.1, members=3, steps=150, batch=32, lr=5e-3, weight_decay=0.01, seed=0, callbacks=()):
        whole = {"horizon": horizon, "season": season, "context": 1 if context is None else context, "hidden": hidden,
                 "members": members, "steps": steps, "batch": batch}
        for name, value in whole.items():
            number("Forecaster", name, value, 1, whole=True)
        for name, value, most in (("dropout", dropout, 1), ("weight_decay", weight_decay, 1), ("lr", lr, 1)):
            number("Forecaster", name, value, 0, most)
        for name, value, known in (("model", model, MODELS), ("distribution", distribution, DISTRIBUTIONS)):
            if value not in known:
                raise ArgumentError(message("Forecaster", name, f"one of {', '.join(known)}", repr(value),
                                            near(str(value), known)))
        self.model, self.horizon, self.season, self.context = model, horizon, season, context
        self.distribution, self.hidden, self.dropout = distribution, hidden, dropout
        self.members, self.steps, self.batch, self.lr, self.weight_decay = members, steps, batch, lr, weight_decay
        self.seed, self.callbacks, self.networks = seed, callbacks, []

    @property
    def counts(self):
        """Are values counts, which are not scaled outside of the network?"""
        return DISTRIBUTIONS[self.distribution].whole

    def _config(self, shortest):
        """What the network sees and gives."""
        lags = sorted({1, 2, 3} | {lag for lag in (self.season - 1, self.season, self.season + 1) if lag > 0})
        context = self.context or max(min(max(2 * self.season, 2 * self.horizon), shortest // 3), 1)
        return dict(prediction_length=self.horizon, context_length=context, lags_sequence=tuple(lags),
                    distribution_output=self.distribution, scaling="mean" if self.counts else False,
                    num_time_features=2, hidden=self.hidden, dropout=self.dropout)

    def fit(self, series):
        """Train a new network.

        Args:
            series (T): numbers at even intervals; or a list of such.

        Returns:
            the forecaster.

        Raises:
            ArgumentError: a series is too short, or holds what is no number; counts are not whole, or negative.
        """
        checked = [self._checked(one) for one in (series if _several(series) else [series])]
        config = self._config(min(map(len, checked)))
        self._long_enough(checked, config["context_length"] + config["lags_sequence"][-1] + self.horizon)
        self.series = checked
        with random.at({"seed": self.seed, "draws": 0}):
            self.networks = [MODELS[self.model](**config) for _ in range(self.members)]
            for i, network in enumerate(self.networks):
                self._train(network, Windows(self, self.seed + i))
        return self

    def _train(self, network, windows):
        groups = [{"params": [p for p in network.parameters() if (p.ndim > 1) == decays],
                   "weight_decay": self.weight_decay * decays} for decays in (True, False)]
        optimizer = optim.AdamW(groups, self.lr)
        schedule = optim.OneCycleLR(optimizer, self.lr, max(self.steps, 2), pct_start=0.2, cycle_momentum=False)
        SeriesTrainer(network, optimizer, None, schedule=schedule, clip_norm=1.0, callbacks=self.callbacks).fit(windows)
        network.eval()

    @property
    def past_length(self):
        """How many of the last values a forecast sees."""
        return self.networks[0].config.past_length

    def predict(self, series=None, samples=200, phase=0):
        """Draw futures.

        Args:
            series (T): what has been; None: the one that was learnt from. The last `past_length` values count.
            samples: how many futures.
            phase: of the first value of `series` in its season, where that of the series learnt from has 0.

        Returns:
            a Forecast.

        Raises:
            ArgumentError: `fit` has not been called; the series is too short, or holds what is no number; no samples.
        """
        number("predict", "samples", samples, 1, whole=True)
        number("predict", "phase", phase, whole=True)
        if not self.networks:
            raise ArgumentError(message("predict", "forecaster", "one that has learnt", "a new one", "Call fit first."))
        if series is None and len(self.series) > 1:
            raise ArgumentError(message("predict", "series", "one of those learnt from", "none"))
        values = self.series[0] if series is None else self._checked(series)
        past = self.past_length
        self._long_enough([values], past)
        start = len(values) - past
        window, loc, scale = self.scaled(values[None, start:], past)
        times = self.times(np.array([[phase + start]]) + np.arange(past + self.horizon))
        given = Tensor(window), Tensor(times[:, :past]), Tensor(times[:, past:])
        shares = np.diff(np.linspace(0, samples, self.members + 1).astype(int))
        drawn = [network.generate(*given, num_samples=int(share), seed=self.seed + i).numpy()[0]
                 for i, (network, share) in enumerate(zip(self.networks, shares)) if share]
        return Forecast(np.concatenate(drawn).astype(np.float64) * scale[0] + loc[0])

    def times(self, steps):
        """Features of time (N, T, 2) of the numbers of steps (N, T): where in the season."""
        angle = 2 * np.pi * (steps % self.season) / self.season
        return np.stack([np.sin(angle), np.cos(angle)], -1).astype(np.float32)

    def scaled(self, windows, past):
        """(windows (N, L) less their place and over their scale, place (N, 1), scale (N, 1)) of their past."""
        if self.counts:
            return windows.astype(np.float32), np.zeros((len(windows), 1)), np.ones((len(windows), 1))
        loc, scale = windows[:, :past].mean(1, keepdims=True), windows[:, :past].std(1, keepdims=True)
        scale = np.where(scale > 1e-9 * np.maximum(abs(loc), 1e-300), scale, 1.0)      # (a constant)
        return ((windows - loc) / scale).astype(np.float32), loc, scale

    def _checked(self, series):
        try:
            values = np.asarray(series, np.float64)
        except (TypeError, ValueError) as error:
            raise ArgumentError(message("Forecaster", "series", "numbers", error)) from error
        if values.ndim != 1:
            raise ArgumentError(message("Forecaster", "series", "numbers along one axis", f"shape {values.shape}"))
        if len(wrong := np.flatnonzero(~np.isfinite(values))):
            raise ArgumentError(message("Forecaster", "series", "finite numbers", f"{values[wrong[0]]} at {wrong[0]}",
                                        f"{len(wrong)} in all. Fill the gaps, or leave what is before them out."))
        if self.counts and ((values < 0) | (values != values.round())).any():
            raise ArgumentError(message("Forecaster", "series", "counts, as negative_binomial wants", "other numbers"))
        return values

    def _long_enough(self, series, least):
        if (shortest := min(map(len, series))) < least:
            raise ArgumentError(message("Forecaster", "series", f"at least {least} values", shortest, "A shorter "
                                        "horizon, season or context wants fewer."))


def _several(series):
    return isinstance(series, (list, tuple)) and bool(series) and not np.isscalar(series[0])


class Windows:
    """Batches of a forecaster's series, `steps` of them: {argument of the network: array}."""

    def __init__(self, forecaster, seed):
        f, self.forecaster, self.seed = forecaster, forecaster, seed
        self.length = f.past_length + f.horizon
        self.windows = [np.lib.stride_tricks.sliding_window_view(one, self.length) for one in f.series]
        self.ends = np.cumsum([len(w) for w in self.windows])

    def __iter__(self):
        f, rng = self.forecaster, np.random.default_rng(self.seed)
        past = self.length - f.horizon
        for _ in range(f.steps):
            drawn = rng.integers(0, self.ends[-1], f.batch)
            which = np.searchsorted(self.ends, drawn, side="right")
            starts = drawn - np.concatenate([[0], self.ends])[which]
            values = f.scaled(np.stack([self.windows[i][s] for i, s in zip(which, starts)]), past)[0]
            times = f.times(starts[:, None] + np.arange(self.length))
            yield {"past_values": values[:, :past], "past_time_features": times[:, :past],
                   "future_values": values[:, past:], "future_time_features": times[:, past:]}


class SeriesTrainer(Trainer):
    """A Trainer of networks that forecast, from batches as Windows has them."""

    def forward(self, batch):
        """(loss, parameters, what came, number of windows) of {argument: (N, ...)}."""
        given = {name: Tensor(value).to_device(self.device) for name, value in batch.items()}
        found = self.model(**given)
        return found.loss, found.params, given["future_values"], len(batch["future_values"])
