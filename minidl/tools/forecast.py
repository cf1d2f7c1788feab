"""Pictures of forecasts."""
import numpy as np


def draw_forecast(axes, history, forecast, actual=None, label="", start=None):
    """Draw what was, the median of what may come, and where half of it and four fifths of it lie.

    Args:
        axes: of matplotlib.
        history (T): values; the last of them are drawn.
        forecast: a Forecast of H steps.
        actual (H): what came.
        label: of the median.
        start: the number of the first step to come; None: T.
    """
    start = len(history) if start is None else start
    steps = start + np.arange(forecast.samples.shape[1])
    axes.plot(start - len(history) + np.arange(len(history)), history, color="0.35", linewidth=1)
    if actual is not None:
        axes.plot([start - 1, *steps], [history[-1], *actual], color="0.35", linewidth=1, linestyle=":")
    line, = axes.plot(steps, forecast.median, linewidth=1.6, label=label or None)
    for low, high, alpha in ((0.1, 0.9, 0.18), (0.25, 0.75, 0.28)):
        axes.fill_between(steps, *forecast.quantile([low, high]), color=line.get_color(), alpha=alpha, linewidth=0)
    axes.margins(x=0.01)
