"""Models of language and speech beside Hugging Face's with the same weights: reading, hearing, and going on from it.

Where transformers is not installed their rows say so.
"""
from importlib import import_module

from .cases_zoo import Official
from .rows import Group, Row, forward, normal


def _model(name):
    """(lib) -> the model in evaluation mode, ours or its twin of the same config."""
    def make(lib):
        if lib.name != "torch":
            return lib.ml.create_model(name).eval()
        told = import_module("minidl.models.registry").find(name).skeleton().describe_config()
        twins = import_module("transformers")
        kind = getattr(twins, told["architectures"][0])
        return kind(twins.AutoConfig.for_model(**told)).eval()
    return make


def _tokens(batch, length, words):
    return lambda rng: [rng.integers(5, words, (batch, length))]


def _go_on(count, **settings):
    """The tokens that the likeliest continuation has: `count` of them, whatever they are."""
    def run(lib, module, tokens):
        return module.generate(tokens, max_new_tokens=count, min_new_tokens=count, do_sample=False, **settings)
    return run


def _read(logits):
    return lambda lib, module, tokens: getattr(module(tokens), logits)


def _row(name, variant, inputs, run):
    return Row(name, variant, inputs, forward(run), _model(name), tolerance=1e-3, state=Official("huggingface"))


def _hear(lib, module, spectrogram):
    return module.model.encoder(spectrogram).last_hidden_state if lib.name == "torch" else module.encode(spectrogram)


GROUPS = [
    Group("text", "Language models", [
        _row("bert-base-uncased", "B1 L128", _tokens(1, 128, 30000), _read("prediction_logits")),
        _row("bert-base-uncased", "B8 L128", _tokens(8, 128, 30000), _read("prediction_logits")),
        _row("gpt2", "B1 L512 prefill", _tokens(1, 512, 50000), _read("logits")),
        _row("gpt2", "B1 128 + 32 tokens", _tokens(1, 128, 50000), _go_on(32, pad_token_id=0)),
        _row("t5-small", "B1 64 + 32 tokens", _tokens(1, 64, 30000), _go_on(32)),
        _row("t5-small", "B1 64 + 32 tokens, 4 beams", _tokens(1, 64, 30000), _go_on(32, num_beams=4))]),
    Group("speech", "Models of speech", [
        _row("whisper-tiny", "30 s encoded", normal((1, 80, 3000)), _hear),
        _row("wav2vec2-base-960h", "10 s", normal((1, 160000)), _read("logits"))])]
