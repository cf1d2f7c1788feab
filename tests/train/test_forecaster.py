"""From a series to what comes next."""
import numpy as np
import pytest

from minidl.errors import ArgumentError
from minidl.train import Forecast, Forecaster, seasonal_naive
from minidl.train.forecaster import MODELS

RNG = np.random.default_rng(0)
SMALL = {"members": 2, "steps": 60, "hidden": 12, "batch": 16}


def wave(length, season=6):
    """A season, a trend, a little noise."""
    t = np.arange(length)
    return 50 + 0.4 * t + 5 * np.sin(2 * np.pi * t / season) + 0.2 * np.random.default_rng(1).standard_normal(length)


@pytest.mark.parametrize("model", MODELS)
def test_a_season_and_a_trend_are_found(model):
    """Better than repeating the season, which knows no trend; whatever unit; and the same bits again."""
    values = wave(90)
    known, came = values[:-6], values[-6:]
    learner = Forecaster(model, 6, 6, lr=1e-2, **SMALL).fit(known)
    found = learner.predict()
    assert found.samples.shape == (200, 6)
    naive = seasonal_naive(known, 6, 6)
    assert found.mase(came, known, 6) < 0.8 * naive.mase(came, known, 6)
    assert found.pinball(came, known, 6) < naive.pinball(came, known, 6)
    assert (learner.predict().samples == found.samples).all()
    again = Forecaster(model, 6, 6, lr=1e-2, **SMALL).fit(known).predict()
    assert (again.samples == found.samples).all()
    other = learner.predict(1000 * known - 7)          # (another unit: windows are scaled by themselves)
    np.testing.assert_allclose(other.samples, 1000 * found.samples - 7, rtol=1e-3)


def test_the_past_that_counts_is_the_last_part():
    learner, values = Forecaster("gru", 3, 6, **SMALL).fit(wave(80)), wave(80)
    want = learner.predict(values)
    for cut in (6, 12):                                # (whole seasons: the phase is the same)
        np.testing.assert_allclose(learner.predict(values[cut:]).samples, want.samples, rtol=1e-5)
    np.testing.assert_allclose(learner.predict(values[5:], phase=5).samples, want.samples, rtol=1e-5)
    assert learner.predict(values, samples=7).samples.shape == (7, 3)


def test_counts_stay_counts_and_several_series_make_one_forecaster():
    series = [RNG.poisson(3 + 2 * np.sin(np.arange(length) / 2)) for length in (60, 45, 70)]
    learner = Forecaster("lstm", 4, distribution="negative_binomial", **SMALL).fit(series)
    drawn = learner.predict(series[1]).samples
    assert (drawn >= 0).all() and (drawn == drawn.round()).all() and 1 < drawn.mean() < 6
    with pytest.raises(ArgumentError, match="series: expected one of those learnt from"):
        learner.predict()


def test_a_constant_is_forecast_as_it_is():
    found = Forecaster("lstm", 3, **SMALL).fit(np.full(40, 7.5)).predict()
    assert abs(found.median - 7.5).max() < 0.5


def test_scores_are_those_of_their_formulas():
    history, actual = np.array([1.0, 5, 2, 6, 3]), np.array([2.0, 4])
    found = Forecast(np.array([[1.0, 2], [2, 3], [3, 4]]))
    assert found.mase(actual, history, 2) == pytest.approx(0.5)                    # misses 0, 1; seasons differ by 1
    assert found.mase(actual, history, 1) == pytest.approx(0.5 / 3.5)
    losses = [q * max(y - f, 0) + (1 - q) * max(f - y, 0) for q in (0.1, 0.5) for y, f in zip(
        actual, np.quantile(found.samples, q, 0))]
    assert found.pinball(actual, history, 2, (0.1, 0.5)) == pytest.approx(np.mean(losses))
    assert (found.mean == [2, 3]).all() and (found.quantile([0, 1]) == [[1, 2], [3, 4]]).all()
    repeated = seasonal_naive(history, 3, 2, samples=2000)
    np.testing.assert_allclose(repeated.median, [6, 3, 6], atol=1e-9)
    np.testing.assert_allclose(repeated.samples.std(0), [1, 1, np.sqrt(2)], atol=0.01)


@pytest.mark.parametrize("settings, series, problem", [
    ({}, [1.0] * 10, "series: expected at least 18 values, got 10. A shorter horizon"),
    ({}, [1.0, np.nan] * 30, "series: expected finite numbers, got nan at 1. 30 in all"),
    ({}, ["1", "x"] * 30, "series: expected numbers"),
    ({}, np.ones((30, 2)), "series: expected numbers along one axis"),
    ({"distribution": "negative_binomial"}, [0.5] * 60, "series: expected counts"),
    ({"model": "lsmt"}, [1.0], "model: expected one of lstm, gru, tcn, transformer, got 'lsmt'. Did you mean lstm"),
    ({"distribution": "gauss"}, [1.0], "distribution: expected one of student_t"),
    ({"hidden": "many"}, [1.0], "hidden: expected an integer"), ({"lr": -1}, [1.0], "lr: expected a number"),
    ({"horizon": 0}, [1.0], "horizon: expected an integer"), ({"season": 1.5}, [1.0], "season: expected an integer")])
def test_what_cannot_be_forecast_is_refused(settings, series, problem):
    with pytest.raises(ArgumentError, match=r"\[Forecaster\] " + problem.replace("[", r"\[")):
        Forecaster(**settings).fit(series)


def test_a_forecaster_that_has_not_learnt_says_so():
    learner = Forecaster(**SMALL)
    with pytest.raises(ArgumentError, match="expected at least 16 values"):
        learner.fit([1.0, 2.0])
    with pytest.raises(ArgumentError, match="Call fit first"):
        learner.predict(wave(90))
    with pytest.raises(ArgumentError, match=r"predict\] samples"):
        learner.predict(samples=0)
    for call, op in ((lambda h: seasonal_naive(h, 3, 4), "seasonal_naive"),
                     (lambda h: Forecast(np.ones((2, 3))).mase(np.ones(3), h, 4), "mase"),
                     (lambda h: Forecast(np.ones((2, 3))).pinball(np.ones(3), h, 4), "pinball")):
        with pytest.raises(ArgumentError, match=rf"{op}\] history: expected more than a season of 4, got 4 values"):
            call(np.ones(4))
    with pytest.raises(ArgumentError, match=r"quantile\] q: expected probabilities"):
        Forecast(np.ones((2, 3))).quantile(1.5)
