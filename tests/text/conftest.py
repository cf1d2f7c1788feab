"""Small tokenizers, trained here, and SentencePiece models, made by its own library."""
import base64
import json
from pathlib import Path

import pytest

import minidl as ml

TEXTS = [line for line in (Path(__file__).parents[2] / "LICENSE").read_text().splitlines() if line.strip()]
SENTENCEPIECE = json.loads((Path(__file__).parent / "sentencepiece.json").read_text())
MODEL = {name: base64.b64decode(SENTENCEPIECE[name]["model"]) for name in ("unigram", "bpe")}


@pytest.fixture(scope="session")
def trained():
    """{algorithm: tokenizer} of 400 tokens."""
    fairseq = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    return {kind: ml.text.train_tokenizer(TEXTS, 400, kind, lowercase=kind == "wordpiece",
                                          special_tokens=fairseq if kind == "bpe" else ())
            for kind in ("bpe", "wordpiece", "unigram")}


@pytest.fixture(scope="session")
def legacy(trained, tmp_path_factory):
    """A function: the directory of a family, with the files from before tokenizer.json."""
    def make(kind, **told):
        directory = tmp_path_factory.mktemp(kind)
        if kind in ("bert", "distilbert", "electra"):
            trained["wordpiece"].backend.model.save(str(directory))
        elif kind in ("gpt2", "gpt_neo", "opt", "roberta", "bart"):
            trained["bpe"].backend.model.save(str(directory))
        elif kind == "marian":
            (directory / "source.spm").write_bytes(MODEL["unigram"])
            (directory / "target.spm").write_bytes(MODEL["bpe"])
            tokens = ["</s>", "<unk>", ">>es<<", *dict.fromkeys(sum(SENTENCEPIECE["unigram"]["pieces"], [])), "<pad>"]
            (directory / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
        else:
            name = "spiece.model" if kind == "t5" else "sentencepiece.bpe.model"
            (directory / name).write_bytes(MODEL["unigram"])
        if kind == "mbart50":
            told, kind = {"tokenizer_class": "MBart50Tokenizer", **told}, "mbart"
        (directory / "config.json").write_text(json.dumps({"model_type": kind}))
        (directory / "tokenizer_config.json").write_text(json.dumps(told))
        return directory
    return make
