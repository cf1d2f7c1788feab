"""Real weights on real recordings and words, from packages that carry them."""
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import minidl as ml

SPEECH = Path("/usr/share/pocketsphinx/test/data")     # Debian's pocketsphinx-testdata
pytestmark = pytest.mark.real


def weights(package, name):
    """The file of weights in a package."""
    spec = find_spec(package)
    path = Path(spec.origin).parent / name if spec else None
    if path is None:
        pytest.skip(f"needs {package}, of tests/real.txt")
    return path


def recordings():
    """{reader: [recordings at 16 kHz]}."""
    if not SPEECH.exists():
        pytest.skip("needs Debian's pocketsphinx-testdata")
    raw = [SPEECH / name for name in ("goforward.raw", "numbers.raw", "something.raw", "tidigits/dhd.2934z.raw")]
    found = {"librivox": sorted(SPEECH.glob("librivox/*.wav")), "cards": sorted(SPEECH.glob("cards/*.wav")), "raw": raw}
    return {reader: [heard(path) for path in paths] for reader, paths in found.items()}


def heard(path):
    if path.suffix == ".raw":
        return np.fromfile(path, "<i2") / np.float32(32768)
    with wave.open(str(path)) as file:
        assert file.getframerate() == 16000
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)


def test_resemblyzer_tells_speakers_apart():
    """Each of 14 recordings by three readers is nearest, on average, to the others of its own reader."""
    model = ml.create_model("resemblyzer", weights("resemblyzer", "pretrained.pt")).eval()
    voices = [(reader, model.embed(wave)) for reader, waves in recordings().items() for wave in waves]
    same, different = [], []
    for i, (reader, voice) in enumerate(voices):
        near = {r: np.mean([voice @ v for j, (own, v) in enumerate(voices) if own == r and j != i])
                for r in ("librivox", "cards", "raw")}
        assert max(near, key=near.get) == reader
        same.append(near.pop(reader))
        different += near.values()
    assert np.mean(same) > 0.75 and np.mean(different) < 0.65


def test_silero_finds_speech():
    model = ml.create_model("silero_vad", weights("silero_vad", "data/silero_vad_16k.safetensors")).eval()
    rng, silence = np.random.default_rng(0), np.zeros(24000, np.float32)
    for one in sum(recordings().values(), []):
        around = np.concatenate([silence, one, silence]) + rng.standard_normal(48000 + len(one), np.float32) * 1e-3
        found = model.segments(around)
        assert found and found[0][0] >= 1.4 and found[-1][1] <= 1.7 + len(one) / 16000
        assert sum(end - start for start, end in found) > 0.3 * len(one) / 16000
    for noise in (0.0, 0.02, 0.3):
        assert not model.segments(rng.standard_normal(80000, np.float32) * np.float32(noise))


def test_g2p_says_words():
    model = ml.create_model("g2p_en", weights("g2p_en", "checkpoint20.npz")).eval()
    said = {"transformer": "T R AE0 N S F AO1 R M ER0", "cat": "K AE1 T", "activationist":
            "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"}
    assert [" ".join(word) for word in model.pronounce(list(said))] == list(said.values())
