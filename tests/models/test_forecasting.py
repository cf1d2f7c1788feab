"""Networks that forecast: distributions, and futures drawn step by step."""
import numpy as np
import pytest

from minidl import Tensor, no_grad
from minidl.backend import random
from minidl.errors import ArgumentError, ShapeError
from minidl.models.sequence.deepar import DeepAR, DeepARConfig
from minidl.models.sequence.distributions import DISTRIBUTIONS
from minidl.models.sequence.timeseries import TimeSeriesConfig, TimeSeriesTransformer
from minidl.testing.modelcheck import series_example

RAW = {"student_t": (1.5, 0.3, -0.4), "normal": (-0.7, 0.2), "negative_binomial": (0.8, 0.4)}
KINDS = ((DeepAR, DeepARConfig, {"core": "lstm"}), (DeepAR, DeepARConfig, {"core": "gru"}),
         (DeepAR, DeepARConfig, {"core": "tcn"}), (TimeSeriesTransformer, TimeSeriesConfig, {}))


def placed(name, loc, scale):
    """(distribution, its parameters) of a series of this place and scale."""
    kind = DISTRIBUTIONS[name]
    loc, scale = Tensor(np.array([[loc]])), Tensor(np.array([[scale]]))
    return kind, (loc, scale, *kind.placed(scale, *kind.domain(*(Tensor(np.array([[r]])) for r in RAW[name]))))


@pytest.mark.parametrize("loc, scale", [(0.0, 1.0), (3.0, 2.5)])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_distribution_sums_to_one_and_is_what_is_drawn(name, loc, scale):
    kind, params = placed(name, loc, scale)
    step = 1.0 if kind.whole else 0.01
    y = np.arange(0 if kind.whole else loc - 400, loc + 400, step)[None]
    density = np.exp(kind.log_prob(Tensor(y), *params).numpy()) * step
    assert abs(density.sum() - 1) < 1e-3
    drawn = kind.draw(random.key(1), *(np.broadcast_to(p.numpy(), (1, 200_000)) for p in params))[0]
    assert not kind.whole or ((drawn >= 0) & (drawn == drawn.round())).all()
    below = np.cumsum(density)                         # the same quantiles, within 5 standard errors
    for q in (0.1, 0.5, 0.9):
        edge = y[0, np.searchsorted(below, q)]
        share = (drawn <= edge).mean()
        assert abs(share - below[np.searchsorted(below, q)]) < 5 * np.sqrt(q * (1 - q) / 200_000) + 1e-3


def network(kind, config, fields, **more):
    """(a network, an example of it) of several numbers per step, if asked for."""
    random.seed(0)
    model = kind(config.tiny().replace(**fields, **more)).eval()
    given, rng = series_example(model, np.random.default_rng(0)), np.random.default_rng(1)
    if model.config.input_size > 1:
        for name in ("past_values", "future_values"):
            given[name] = Tensor(rng.standard_normal((*given[name].shape, model.config.input_size), np.float32))
    if model.distribution.whole:
        for name in ("past_values", "future_values"):
            given[name] = Tensor(rng.poisson(4, given[name].shape).astype(np.float32))
    return model, given


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("kind, config, fields", KINDS)
def test_a_future_step_by_step_has_the_parameters_of_the_future_at_once(kind, config, fields, name, size, monkeypatch):
    """What `generate` draws from, if it draws what came, is what `forward` gives; and the same seed draws the same."""
    model, given = network(kind, config, fields, distribution_output=name, input_size=size, scaling="std")
    future, drawn = given["future_values"], []

    def draw(key, loc, scale, *params):
        drawn.append(params)
        return future.numpy()[:, len(drawn) - 1:len(drawn)]

    with no_grad():
        at_once = model(**given)
    given.pop("future_values")
    whole = model.generate(**given, num_samples=5, seed=3).numpy()
    assert whole.shape == (4, 5, *future.shape[1:]) and (whole == model.generate(**given, num_samples=5, seed=3
                                                                               ).numpy()).all()
    assert (whole != model.generate(**given, num_samples=5, seed=4).numpy()).any() and np.isfinite(whole).all()
    monkeypatch.setattr(model, "distribution", type("Told", (model.distribution,), {"draw": staticmethod(draw)}))
    assert (model.generate(**given, num_samples=1).numpy()[:, 0] == future.numpy()).all()
    for step_by_step, whole in zip(zip(*drawn), at_once.params):
        np.testing.assert_allclose(np.concatenate(step_by_step, 1), whole.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind, config, fields", KINDS)
def test_what_was_not_seen_does_not_count(kind, config, fields):
    model, given = network(kind, config, fields)
    seen = np.ones(given["future_values"].shape, np.float32)
    seen[:, -1] = 0
    losses = []
    for last in (0.0, 1e3):
        future = given["future_values"].numpy().copy()
        future[:, -1] = last
        given |= {"future_values": Tensor(future), "future_observed_mask": Tensor(seen)}
        losses.append(model(**given).loss.item())
    assert losses[0] == losses[1]


def test_settings_that_cannot_be_are_refused():
    for config, fields in ((TimeSeriesConfig, {"distribution_output": "poisson"}), (DeepARConfig, {"core": "rnn"}),
                           (TimeSeriesConfig, {"scaling": "max"}), (DeepARConfig, {"scaling": "max"})):
        with pytest.raises(ArgumentError, match=rf"\[{config.__name__}\] (settings|core): expected"):
            config(**fields)
    for lags in ((), (0, 1)):
        with pytest.raises(ArgumentError, match="lags_sequence: expected at least one lag, each 1 or more"):
            DeepARConfig(lags_sequence=lags)
    for kind, config, fields in KINDS:
        model, given = network(kind, config, fields)
        for name in ("past_values", "past_time_features"):
            given[name] = given[name][:, 1:]
        with pytest.raises(ShapeError, match="past_values: expected at least 7 steps.*, got 6"):
            model(**given)
    assert TimeSeriesConfig.from_hf({"scaling": None}).scaling is False
    assert TimeSeriesConfig.from_hf({}).scaling == "mean"
