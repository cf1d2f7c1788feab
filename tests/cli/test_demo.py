"""The demo as a newcomer runs it, on few images: it ends with the accuracy, and Ctrl-C costs nothing."""
import gzip
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from minidl.data import fashion_mnist
from minidl.io import load, save

ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A folder of IDX files with 520 training and 130 test images."""
    folder = tmp_path_factory.mktemp("few")
    for split, dataset, n in zip(("train", "t10k"), fashion_mnist("subset"), (520, 130)):
        images, labels = (a[:n] for a in dataset.arrays)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels.astype("u1"))):
            with gzip.open(folder / f"{split}-{kind}-ubyte.gz", "wb") as file:
                file.write(struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.tobytes())
    return folder


def command(few, out, *more):
    return [sys.executable, "-P", "-m", "minidl", "demo", "--data", few, "--out", out, "--epochs", "4", *more]


def run(*args):
    return subprocess.run(command(*args), capture_output=True, text=True, env=ENVIRONMENT, timeout=200)


@pytest.fixture(scope="module")
def straight(few, tmp_path_factory):
    """The output, and the folder, of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("straight")
    result = run(few, out)
    assert result.returncode == 0, result.stderr
    return result.stdout, out


def test_says_and_draws_what_it_found(straight):
    text, out = straight
    assert re.fullmatch(r"test accuracy: 0\.\d{4}", text.rstrip().splitlines()[-1])
    assert "epoch 4/4" in text and "loss" in text and "Ankle boot" in text
    from PIL import Image
    picture = np.asarray(Image.open(out / "predictions.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1:].max(-1) < 60)
    assert picture.shape[1] == 8 * 96 and red.any(), "no mistake is framed"


@pytest.mark.parametrize("after", ["at once", "a checkpoint"])
def test_an_interrupted_run_goes_on_bit_for_bit(few, straight, tmp_path, after):
    process = subprocess.Popen(command(few, tmp_path), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    last, deadline = tmp_path / "last.safetensors", time.monotonic() + 120
    while time.monotonic() < deadline and not (last.exists() if after == "a checkpoint" else tmp_path.exists()):
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT, 1)
    if last.exists():
        load(last)
    resumed = run(few, tmp_path, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    want, got = (load(folder / "last.safetensors")["model"] for folder in (straight[1], tmp_path))
    assert want.keys() == got.keys()
    for name in want:
        assert want[name].tobytes() == got[name].tobytes(), name
    assert resumed.stdout.splitlines()[-1] == straight[0].splitlines()[-1]


def test_json_is_one_object(few, straight):
    result = subprocess.run(command(few, straight[1], "--resume", "--json"), capture_output=True, text=True,
                            env=ENVIRONMENT)
    found = json.loads(result.stdout)
    assert f"test accuracy: {found['accuracy']:.4f}" in straight[0] and len(found["classes"]) == 10


def test_refusals_are_one_line(tmp_path):
    result = run(tmp_path / "nowhere", tmp_path / "out")
    assert result.returncode == 1 and re.fullmatch(r"minidl: \[\w+\] .*nowhere.*\n", result.stderr)
    save({"model": {}}, tmp_path / "last.safetensors")
    result = run(tmp_path, tmp_path, "--resume")
    assert result.returncode == 1 and re.fullmatch(r"minidl: \[demo\] state: .*none for info\.\n", result.stderr)


def test_doctor():
    result = subprocess.run([sys.executable, "-P", "-m", "minidl", "doctor", "--json"], capture_output=True, text=True)
    assert json.loads(result.stdout)["numpy"] == np.__version__
