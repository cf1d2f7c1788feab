"""The hub: a server here speaks its protocol, and the real client, in a process of its own, asks it."""
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from minidl import io
from minidl.errors import CheckpointError
from minidl.io import hub
from minidl.models.diffusion import schedulers
from minidl.models.diffusion.unet import UNet2DConfig, UNet2DModel
from minidl.pipelines import DDPM

SHARDED = Path(__file__).parents[1] / "parity/formats/gpt2_sharded"
COMMITS = {"main": "a" * 40, "v1": "b" * 40}
TEXTS = {"config.json": b"{}", "tokenizer.json": b'{"t": 1}', "README.md": b"# long", "pytorch_model.bin": b"old",
         "flax_model.msgpack": b"another's"}


@pytest.fixture
def server():
    """A hub with three models: `requests` are those that it got, `models` {name: {file: bytes}}."""
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests.append(f"{self.command} {self.path}")
            parts = self.path.partition("?")[0].strip("/").split("/")
            api = parts[:2] == ["api", "models"]
            name, rest = "/".join(parts[2 * api:][:2]), parts[2 * api + 2:]
            files, revision = server.models.get(name), rest[1] if len(rest) > 1 else "main"
            commit = COMMITS.get(revision, revision if revision in COMMITS.values() else None)
            if server.broken:
                self.answer(500)
            elif name == "org/gated":
                self.answer(403, error="GatedRepo")
            elif files is None:
                self.answer(404, error="RepoNotFound")
            elif commit is None:
                self.answer(404, error="RevisionNotFound")
            elif api:
                content = {"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]}
                self.answer(200, json.dumps(content).encode())
            elif (file := "/".join(rest[2:])) in files:
                self.answer(200, files[file], commit)
            else:
                self.answer(404, error="EntryNotFound", commit=commit)

        do_HEAD = do_GET

        def answer(self, status, content=b"", commit="", error=""):
            self.send_response(status)
            for key, value in {"Content-Length": len(content), "X-Repo-Commit": commit, "X-Error-Code": error,
                               "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}.items():
                self.send_header(key, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.requests, server.broken = [], False
        shards = {file.name: file.read_bytes() for file in SHARDED.iterdir()}
        server.models = {"org/model": {**TEXTS, **shards}, "org/texts": {"README.md": b""},
                         "org/gated": {}, "org/torn": {n: b for n, b in shards.items() if "00002" not in n}}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


DOWNLOAD = "from minidl.io import hub", "hub.download(sys.argv[1], sys.argv[2] or None)"
PIPELINE = "from minidl.pipelines import image_pipeline", "image_pipeline(sys.argv[1])(num_images=1, steps=1).shape"


def ask(server, home, name="org/model", revision=None, get=DOWNLOAD, **environment):
    """The directory that `download` gives in a process of its own, or what `get` does; or the error's text."""
    code = (f"import sys; {get[0]}; from minidl.errors import CheckpointError\n"
            f"try: print({get[1]})\nexcept CheckpointError as error: print(error)")
    plain = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    ours = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(home)}
    result = subprocess.run([sys.executable, "-c", code, name, revision or ""], env={**plain, **ours, **environment},
                            capture_output=True, text=True, timeout=120)
    assert not result.returncode, result.stderr
    return result.stdout.strip()


def test_what_is_needed_is_fetched_once_and_then_there_without_the_hub(server, tmp_path):
    directory = Path(ask(server, tmp_path))
    weights = io.weights(directory)
    assert {name: a.tobytes() for name, a in weights.items()} == {n: a.tobytes() for n, a in io.load(SHARDED).items()}
    assert {file.name for file in directory.iterdir()} == {
        "config.json", "tokenizer.json", *[file.name for file in SHARDED.iterdir()]}
    assert not any("README" in r or "flax" in r or ".bin" in r for r in server.requests)
    server.requests.clear()
    assert ask(server, tmp_path) == str(directory) and not any(r.startswith("GET /org") for r in server.requests)
    server.requests.clear()
    assert ask(server, tmp_path, HF_HUB_OFFLINE="1") == str(directory) and not server.requests
    server.broken = True                               # it answers, but only that it cannot
    assert ask(server, tmp_path) == str(directory)


def test_a_hub_that_is_not_there(server, tmp_path):
    directory = ask(server, tmp_path)
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert ask(server, tmp_path, **nowhere) == directory
    assert ask(server, tmp_path, name="org/other", **nowhere).startswith(
        "[hub] name: expected a model that is on the hub or in the cache here, got org/other without weights (")


def test_revisions_are_kept_apart(server, tmp_path):
    assert [Path(ask(server, tmp_path, revision=revision)).name for revision in ("v1", None, "b" * 40)] == [
        "b" * 40, "a" * 40, "b" * 40]


@pytest.mark.parametrize("name, revision, environment, reason", [
    ("org/none", None, {}, "expected a model of the hub, got 'org/none'"), ("org/gated", None, {}, "asks for consent"),
    ("org/model", "v9", {}, "[hub] revision: expected one that org/model has, got 'v9'"),
    ("org/texts", None, {}, "got org/texts with README.md"), ("org/torn", None, {}, "without model-00002-of-00003"),
    ("org/model", None, {"HF_HUB_OFFLINE": "1"}, "Is HF_HUB_OFFLINE set?"), ("resnet", None, {}, "the name of a model"),
    ("../etc/passwd", None, {}, "the name of a model")])
def test_what_goes_wrong_is_said(server, tmp_path, name, revision, environment, reason):
    answer = ask(server, tmp_path, name, revision, **environment)
    assert answer.startswith("[hub] ") and reason in answer


def test_a_pipeline_is_a_folder_of_folders(server, tmp_path):
    pipe = DDPM(UNet2DModel(UNet2DConfig.tiny()), schedulers.create("ddim"))
    pipe.save_pretrained(tmp_path / "pipe")
    files = {str(p.relative_to(tmp_path / "pipe")): p.read_bytes() for p in (tmp_path / "pipe").rglob("*.*")}
    beside = "safety_checker/model.safetensors", "unet/README.md", "all.ckpt"
    server.models["org/pipe"] = files | dict.fromkeys(beside, b"")
    for environment in {}, {"HF_HUB_OFFLINE": "1"}:
        assert ask(server, tmp_path, "org/pipe", get=PIPELINE, **environment) == "(1, 8, 8, 3)"
    assert not any(word in request for word in ("README", "safety", "all.ckpt") for request in server.requests)
    assert "without model_index.json" in ask(server, tmp_path, "org/model", get=PIPELINE)
    del server.models["org/pipe"]["unet/diffusion_pytorch_model.safetensors"]
    assert "unet" in ask(server, tmp_path / "other", "org/pipe", get=PIPELINE)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"pip install 'minidl\[hub\]'"):
        hub.download("org/model")


def test_names_and_paths_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    np.savez("org/here", a=np.ones(1))
    assert hub.is_name("org/model") and hub.is_name("google/vit-base-patch16-224") and not hub.is_name("org/here.npz")
    assert not any(map(hub.is_name, ["resnet50", "a/b/c", "/org/model", "./model/x", "", None, tmp_path, "org/"]))
