"""DeepAR: a recurrent or a convolutional network that forecasts step by step.

Source: Salinas, Flunkert, Gasthaus 2017, "DeepAR: Probabilistic Forecasting with Autoregressive Recurrent Networks",
arXiv:1704.04110; with causal convolutions: van den Oord et al. 2016, arXiv:1609.03499, as in Bai et al.'s TCN; the
direct way from lags to the forecast: Lai et al. 2017, "LSTNet", arXiv:1703.07015, section 3.6.
Differs from the papers: the direct way is added to what goes into each parameter.

    values, lagged, scaled, with features of time and of the series (N,T,F) -> LSTM, GRU or TCN -> states (N,T,W)
    -> parameters of the distribution of the next value (N,T) each
"""
from dataclasses import dataclass

from ... import nn, ops
from ...errors import ArgumentError, message
from ..registry import family
from ..text.output import Output
from .recurrent import CELLS
from .series import SeriesConfig, SeriesModel
from .tcn import TCN, TCNConfig

CORES = (*CELLS, "tcn")


@dataclass(frozen=True)
class DeepARConfig(SeriesConfig):
    """Sizes of a DeepAR, beyond what it sees and gives.

    Args:
        core: "lstm", "gru" or "tcn".
        hidden, layers: of states; and how many layers, or blocks.
        kernel_size: of a tcn's convolutions; block i spreads its taps 2^i steps.
        dropout: in front of all layers but the first, or behind a tcn's convolutions.
    """

    core: str = "lstm"
    hidden: int = 40
    layers: int = 2
    kernel_size: int = 3
    dropout: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        if self.core not in CORES:
            raise ArgumentError(message("DeepARConfig", "core", f"one of {', '.join(CORES)}", repr(self.core)))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(3, 5, lags_sequence=(1, 2), num_static_categorical_features=1, cardinality=(3,),
                   embedding_dimension=(2,), num_time_features=1, hidden=8, dropout=0.0)


class Recurrence(nn.Module):
    """Layers of LSTM or GRU: x (N, T, F), state -> (N, T, W), the state behind them."""

    def __init__(self, config):
        c = config
        self.rnn = CELLS[c.core](c.feature_size, c.hidden, c.layers, batch_first=True, dropout=c.dropout)

    def forward(self, x, state=None):
        """As the class says."""
        return self.rnn(x, state)


class Convolution(nn.Module):
    """A TCN: x (N, T, F), state -> (N, T, W), the state behind them."""

    def __init__(self, config):
        c = config
        self.tcn = TCN(TCNConfig(c.feature_size, (c.hidden,) * c.layers, c.kernel_size, 0, dropout=c.dropout))

    def forward(self, x, state=None):
        """As the class says."""
        state = self.tcn.start(len(x)) if state is None else list(state)
        return self.tcn.features(x.swapaxes(1, 2), state).swapaxes(1, 2), state


class DeepAR(SeriesModel):
    """The network of the module's docstring."""

    config_class = DeepARConfig

    def __init__(self, config):
        c = self.config = config
        self.core = (Convolution if c.core == "tcn" else Recurrence)(c)
        self.make_ends(c.hidden + c.feature_size)

    def begin(self, x):
        """The state behind the context x (N, C, F)."""
        return self.core(x)[1]

    def go_on(self, x, state):
        """x (N, H, F), all steps of the future so far -> (of the last one (N, 1, W), the state behind it)."""
        x = x[:, -1:]
        y, state = self.core(x, state)
        return ops.concat([y, x], 2), state

    def forward(self, past_values, past_time_features, past_observed_mask=None, static_categorical_features=None,
                static_real_features=None, future_values=None, future_time_features=None, future_observed_mask=None):
        """Parameters of what comes next, each step seeing the true values in front of it.

        Args:
            past_values (N, P), past_observed_mask (N, P): P = `past_length` steps; 1 where a value was seen.
            past_time_features (N, P, _), future_time_features (N, H, _).
            static_categorical_features (N, _), static_real_features (N, _): of the series.
            future_values (N, H), future_observed_mask (N, H): what came.

        Returns:
            loss (mean negative log likelihood, of the context, too), params of the future, loc and scale (N, 1),
            last_hidden_state (N, C + H, W).
        """
        loc, scale = self.scales(past_values, past_observed_mask)
        values = ops.concat([past_values, future_values], 1)
        begin = past_values.shape[1] - self.config.context
        times = ops.concat([past_time_features[:, begin:], future_time_features], 1)
        x = self.numbers((values - loc) / scale, times, loc, scale, static_categorical_features, static_real_features,
                         begin)
        y = self.core(x)[0]
        params = self.project(ops.concat([y, x], 2), scale)
        masks = [ops.ones_like(v) if mask is None else mask for v, mask in (
            (past_values, past_observed_mask), (future_values, future_observed_mask))]
        loss = self.nll(values[:, begin:], ops.concat(masks, 1)[:, begin:], loc, scale, params)
        return Output(loss=loss, params=tuple(q[:, self.config.context:] for q in params), loc=loc, scale=scale,
                      last_hidden_state=y)


deepar = family(DeepAR, "forecasting", "Salinas, Flunkert, Gasthaus 2017, arXiv:1704.04110")


@deepar()
def deepar_lstm():
    """The paper's: LSTM layers, here two of 40."""
    return DeepARConfig()


@deepar()
def deepar_gru():
    """With GRU layers."""
    return DeepARConfig(core="gru")


@deepar()
def deepar_tcn():
    """With four blocks of causal convolutions."""
    return DeepARConfig(core="tcn", layers=4)
