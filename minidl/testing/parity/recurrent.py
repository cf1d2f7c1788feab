"""RNN, LSTM and GRU over whole sequences, and over sequences of different lengths."""
from ... import Tensor, nn
from . import Run, runs


@runs("rnn_tanh", "lstm", "lstm_bi", "lstm_proj", "gru", "gru_bi")
def recurrent(case):
    """torch.nn.RNN, LSTM and GRU."""
    config = dict(case.config)
    kind = getattr(nn, config.pop("kind"))
    if not config.get("proj_size"):
        config.pop("proj_size", None)
    layer = kind(**config)
    layer.load_state_dict(case.weights)
    x, h0 = Tensor(case.inputs["x"]), Tensor(case.inputs["h0"])
    state = (h0, Tensor(case.inputs["c0"])) if "c0" in case.inputs else h0
    y, last = layer(x, state)
    packed_y, packed_last = layer(x, state, lengths=Tensor(case.inputs["lengths"]))
    outputs = {"y": y, "packed_y": packed_y}
    for prefix, found in (("", last), ("packed_", packed_last)):
        parts = found if isinstance(found, tuple) else (found,)
        outputs.update({f"{prefix}{name}": part for name, part in zip(("hn", "cn"), parts)})
    return Run(outputs, dict(layer.named_parameters()))
