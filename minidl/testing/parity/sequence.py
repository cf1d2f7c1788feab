"""Models of sequences, and of speech."""
from ... import Tensor, ops
from ...models.audio.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC
from ...models.audio.whisper import WhisperConfig, WhisperForConditionalGeneration
from ...models.sequence.language import RecurrentLM, RecurrentLMConfig
from ...models.sequence.tcn import TCN, TCNConfig
from ...models.sequence.timeseries import TimeSeriesConfig, TimeSeriesTransformer
from . import Run, runs
from .classification import loaded


@runs("lstm_lm")
def language(case):
    """PyTorch's word_language_model example."""
    c = case.config
    model = loaded(RecurrentLM(RecurrentLMConfig(c["vocab"], c["emb"], c["hid"], c["layers"])), case)
    return Run({"logits": model(Tensor(case.inputs["tokens_TB"]))}, model=model)


@runs("tcn", "pytorch_tcn")
def tcn(case):
    """locuslab/TCN; pytorch_tcn.TCN."""
    c, x = case.config, Tensor(case.inputs["x"])
    config = TCNConfig(c["num_inputs"], tuple(c["num_channels"]), c["kernel_size"], c.get("num_classes", 0),
                       c.get("use_skip_connections", False))
    model = loaded(TCN(config), case)
    features = model.features(x)
    found = {"features": features, "y": features, "logits": model.linear(features[:, :, -1])}
    return Run(found, model=model, layout="locuslab" if case.name == "tcn" else "pytorch-tcn")


@runs("whisper_hf", "whisper_openai")
def whisper(case):
    """transformers' WhisperForConditionalGeneration; OpenAI's Whisper."""
    hf = case.name == "whisper_hf"
    config = WhisperConfig.from_hf(case.config) if hf else WhisperConfig.from_openai(case.config)
    model = loaded(WhisperForConditionalGeneration(config), case)
    model.audio_position.requires_grad = hf            # (fixed here; the reference's has a gradient)
    mel, tokens = ((case.inputs[n]) for n in (("input_features", "decoder_input_ids") if hf else ("mel", "tokens")))
    output = model(Tensor(mel), Tensor(tokens), output_hidden_states=True)
    return Run({"logits": output.logits, "encoder": output.encoder_last_hidden_state,
                "dec_hidden.-1": output.decoder_hidden_states[-1]}, model=model,
               layout="huggingface" if hf else "openai")


@runs("wav2vec2_base", "wav2vec2_large")
def wav2vec2(case):
    """transformers' Wav2Vec2ForCTC."""
    model = loaded(Wav2Vec2ForCTC(Wav2Vec2Config.from_hf(case.config)), case)
    output = model(**{name: Tensor(array) for name, array in case.inputs.items()}, output_hidden_states=True)
    return Run({"logits": output.logits, "features": output.extract_features, "hidden.0": output.hidden_states[0],
                "hidden.-1": output.hidden_states[-1], "greedy_ids": ops.argmax(output.logits, -1)}, model=model)


@runs("timeseries_transformer")
def timeseries(case):
    """transformers' TimeSeriesTransformerForPrediction."""
    model = loaded(TimeSeriesTransformer(TimeSeriesConfig.from_hf(case.config)), case)
    output = model(**{name: Tensor(array) for name, array in case.inputs.items()})
    found = {"loss": output.loss, "loc": output.loc, "scale": output.scale, "enc": output.encoder_last_hidden_state,
             "dec": output.last_hidden_state, **{f"params.{i}": p for i, p in enumerate(output.params)}}
    return Run(found, model=model)
