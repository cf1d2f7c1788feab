"""Networks on real series, from packages that carry them."""
from importlib.util import find_spec
from pathlib import Path

import pytest

from minidl.data import read_series
from minidl.errors import ArgumentError
from minidl.train import Forecaster, seasonal_naive

pytestmark = pytest.mark.real


def package(name):
    """The folder of a package."""
    spec = find_spec(name)
    if spec is None:
        pytest.skip(f"needs {name}, of tests/real.txt")
    return Path(spec.origin).parent


@pytest.mark.parametrize("name, kind", [("GunPoint", "TCN"), ("BasicMotions", "GRU"), ("JapaneseVowels", "LSTM")])
def test_series_are_named(name, kind):
    """The official test splits, after seconds of training."""
    from bench import classify
    package("aeon")
    assert classify.accuracy(classify.MODELS[kind], *classify.load(name)) >= 0.95


def test_sunspots_are_forecast():
    """Better than repeating the last season, from four origins on."""
    values, learner, scores = read_series(package("statsmodels") / "datasets/sunspots/sunspots.csv").values, None, []
    for start in (265, 276, 287, 298):
        known, came = values[:start], values[start:start + 11]
        learner = learner or Forecaster("lstm", 11, 11).fit(known)
        scores.append([f.mase(came, known, 11) for f in (learner.predict(known), seasonal_naive(known, 11, 11))])
    assert sum(network for network, _ in scores) < 0.9 * sum(naive for _, naive in scores)


def test_weeks_in_which_nobody_measured_are_named():
    with pytest.raises(ArgumentError, match=r"co2.csv, line \d+, co2: expected a number, got ''. Fill the gap"):
        read_series(package("statsmodels") / "datasets/co2/co2.csv")
