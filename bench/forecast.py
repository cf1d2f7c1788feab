"""Forecasts of real series from rolling origins: networks beside repeating the last season, and ETS.

Each network is trained once, on what is before the first origin, and sees what is before each origin; ETS (error, trend
and season, damped, additive; statsmodels) is fitted anew at each. All forecast `horizon` steps from each origin.
"""
import time
import warnings
from dataclasses import dataclass

import numpy as np
import statsmodels.api as statsmodels
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

import minidl as ml
from minidl.tools.forecast import draw_forecast
from minidl.train import Forecast, Forecaster, seasonal_naive
from minidl.train.forecaster import MODELS

SAMPLES = 400


@dataclass(frozen=True)
class Task:
    """A series, steps of its season, steps to forecast, and how many origins, so many steps apart."""

    name: str
    values: np.ndarray
    season: int
    horizon: int
    origins: int
    apart: int

    def starts(self):
        """The numbers of the steps that are forecast first."""
        last = len(self.values) - self.horizon
        return [last - self.apart * i for i in range(self.origins)][::-1]


def tasks():
    """CO2 at Mauna Loa by month, sunspots by year, the gross domestic product of the US by quarter."""
    sets = statsmodels.datasets
    co2 = sets.co2.load_pandas().data["co2"].resample("MS").mean().interpolate().to_numpy()
    return [Task("CO2 (monthly)", co2, 12, 12, 10, 6),
            Task("sunspots (yearly)", sets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(), 11, 11, 12, 4),
            Task("US GDP (quarterly)", sets.macrodata.load_pandas().data["realgdp"].to_numpy(), 4, 8, 10, 3)]


def ets(history, task):
    """The Forecast of exponential smoothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                # (that its optimizer stopped early)
        fitted = ETSModel(history, error="add", trend="add", damped_trend=True, seasonal="add",
                          seasonal_periods=task.season).fit(disp=False)
        drawn = fitted.simulate(task.horizon, anchor="end", repetitions=SAMPLES, rng=0)
    return Forecast(np.asarray(drawn).T)


def methods(task):
    """{name: (a function from what is before an origin to a Forecast, seconds of training)}."""
    found = {"seasonal naive": (lambda known: seasonal_naive(known, task.horizon, task.season, SAMPLES), 0.0),
             "ETS": (lambda known: ets(known, task), 0.0)}
    for name in MODELS:
        begun = time.perf_counter()
        learner = Forecaster(name, task.horizon, task.season).fit(task.values[:task.starts()[0]])
        found[name] = (lambda known, learner=learner: learner.predict(known, SAMPLES)), time.perf_counter() - begun
    return found


def measure(task):
    """[row of a method] and its Forecasts, {name: [Forecast of each origin]}."""
    rows, drawn, first = [], {}, task.values[:task.starts()[0]]
    for name, (forecast, seconds) in methods(task).items():
        drawn[name] = [forecast(task.values[:start]) for start in task.starts()]
        came = [task.values[start:start + task.horizon] for start in task.starts()]
        scores = np.mean([[f.mase(y, first, task.season), f.pinball(y, first, task.season), share(f, y)]
                          for f, y in zip(drawn[name], came)], 0)
        rows.append({"series": task.name, "method": name, "seconds": seconds,
                     **dict(zip(("mase", "pinball", "inside"), scores))})
        print("{series}: {method} {mase:.3f} {pinball:.3f} {seconds:.1f} s".format(**rows[-1]), flush=True)
    return rows, drawn


def share(forecast, came):
    """Which part of what came lies within the interval that should hold 80 % of it."""
    low, high = forecast.quantile([0.1, 0.9])
    return np.mean((low <= came) & (came <= high))


def table(rows):
    """Markdown: MASE, pinball loss, and which share of what came lay within the 80 % intervals."""
    names, series = list(dict.fromkeys(r["method"] for r in rows)), list(dict.fromkeys(r["series"] for r in rows))
    by = {(r["series"], r["method"]): r for r in rows}
    lines = ["| | " + " | ".join(series) + " |", "|---" * (len(series) + 1) + "|"]
    for name in names:
        cells = ["{mase:.3f} / {pinball:.3f} / {inside:.0%}".format(**by[one, name]) for one in series]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(results, path):
    """A row a series, a panel a method: the last forecast, its intervals, and what came."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    columns = len(results[0][2])
    figure, grid = pyplot.subplots(len(results), columns, figsize=(3.1 * columns, 2.5 * len(results)), sharey="row",
                                   layout="constrained", squeeze=False)
    for panels, (task, rows, drawn) in zip(grid, results):
        start = task.starts()[-1]
        history = task.values[max(0, start - 4 * task.horizon):start]
        for axes, row, (name, forecasts) in zip(panels, rows, drawn.items()):
            draw_forecast(axes, history, forecasts[-1], task.values[start:], start=start)
            axes.set_title(f"{name}: MASE {row['mase']:.2f}, pinball {row['pinball']:.2f}", fontsize=9)
            axes.tick_params(labelsize=7)
        panels[0].set_ylabel(task.name, fontsize=9)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def run(only=(), path=None, threads=1):
    """Measure all series, or those whose names hold one of `only`; a table, and a picture to `path`."""
    ml.set_num_threads(threads)
    results = [(task, *measure(task)) for task in tasks() if not only or any(word in task.name for word in only)]
    if path:
        picture(results, path)
    return table([row for _, rows, _ in results for row in rows])
