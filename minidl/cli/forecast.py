"""`minidl forecast`: what comes next in a column of a CSV file."""
import json
from inspect import signature
from pathlib import Path

import typer
from rich.console import Console

import minidl as ml

from ..data import read_series
from ..errors import ArgumentError, message
from ..tools.forecast import draw_forecast
from ..train import Forecaster, seasonal_naive
from .settings import demand_known
from .settings import settings as given

LEVELS = 0.1, 0.25, 0.5, 0.75, 0.9
SEASON = """Steps after which it starts anew. Default: by the times, 12 of months, 4 of quarters, 7 of days, 24 of
hours; else 1."""


def forecast(file: Path = typer.Argument(..., help="A CSV file: a head line, then a line a time."),
             column: str = typer.Option(None, help="Of the numbers; not needed where there is one."),
             time: str = typer.Option(None, help="The column of times. Default: one called so, or the first."),
             horizon: int = typer.Option(12, min=1, help="How many steps to forecast."),
             season: int = typer.Option(None, min=1, help=SEASON),
             model: str = typer.Option("lstm", help="lstm, gru, tcn or transformer."),
             test: bool = typer.Option(False, "--test", help="Forecast the file's last steps; say how far off."),
             plot: Path = typer.Option(None, help="A picture, .png or .svg."),
             settings: list[str] = typer.Option([], "--set", help="An option of Forecaster: --set members=5."),
             seed: int = typer.Option(0, min=0), threads: int = typer.Option(None, min=1),
             as_json: bool = typer.Option(False, "--json", help="One JSON object, and nothing else.")):
    """Learn from a series and forecast it: medians, and intervals that hold half and four fifths of what may come."""
    if threads:
        ml.set_num_threads(threads)
    if plot is not None:
        pyplot = _pyplot(plot)
    series = read_series(file, column, time)
    season, known = season or series.season, len(series.values) - horizon * test
    learner = Forecaster(model, horizon, season, seed=seed, **_options(settings))
    history = series.values[:max(known, 0)]
    with Console(stderr=True, quiet=as_json).status(f"{len(history)} values of {series.name}, season {season}"):
        found = learner.fit(history).predict()
    times = series.times[known:] if test else series.to_come(horizon)
    told = {"file": str(file), "column": series.name, "model": model, "season": season, "horizon": horizon,
            "forecast": [{"time": t, "mean": mean, "quantiles": dict(zip(map(str, LEVELS), row))} for t, mean, row in
                         zip(times, found.mean.tolist(), found.quantile(LEVELS).T.tolist())]}
    if test:
        told["test"] = _measured(found, series.values[known:], history, season)
    if plot is not None:
        _draw(pyplot, plot, series, found, known, model)
        told["plot"] = str(plot)
    print(json.dumps(told) if as_json else _table(told))


def _options(settings):
    """{option of Forecaster: value} beyond those that the command has."""
    own, known = given("forecast", settings), [*signature(Forecaster).parameters][3:-2]
    demand_known("forecast", "--set", own, known)
    return own


def _measured(found, actual, history, season):
    """{MASE and pinball loss of the forecast, and of repeating the last season}."""
    naive = seasonal_naive(history, len(actual), season)
    return {f"{kind}{end}": getattr(one, kind)(actual, history, season) for kind in ("mase", "pinball")
            for one, end in ((found, ""), (naive, "_seasonal_naive"))}


def _draw(pyplot, path, series, found, known, label):
    """The end of what is known, what may come and, where it is known, what came."""
    horizon = found.samples.shape[1]
    figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    came = series.values[known:known + horizon]
    draw_forecast(axes, series.values[:known][-max(8 * horizon, 4 * series.season):], found,
                  came if len(came) else None, label, known)
    times = [*series.times, *series.to_come(horizon)]
    ticks = [int(at) for at in axes.get_xticks() if 0 <= at < len(times) and axes.get_xlim()[0] <= at]
    axes.set_xticks(ticks, [times[at] for at in ticks])
    axes.set_title(series.name)
    axes.legend()
    figure.savefig(path, dpi=120)


def _table(told):
    """As lines."""
    rows = [["", *(f"{level:g}" for level in LEVELS)]]
    rows += [[str(step["time"]), *(f"{y:.6g}" for y in step["quantiles"].values())] for step in told["forecast"]]
    widths = [max(map(len, cells)) for cells in zip(*rows)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
    if "test" in told:
        lines.append(", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in told["test"].items()))
    return "\n".join([*lines, *([f"plot: {told['plot']}"] if "plot" in told else [])])


def _pyplot(path):
    """matplotlib's pyplot, ready to write such a file."""
    try:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise ArgumentError(message("forecast", "--plot", "matplotlib", "none", "pip install minidl[plot]")) from error
    kinds = pyplot.figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in kinds or not path.parent.is_dir():
        expected = f"a name that ends in .{', .'.join(sorted(kinds))}, in a folder that is there"
        raise ArgumentError(message("forecast", "--plot", expected, path))
    return pyplot
