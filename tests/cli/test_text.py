"""Models of text on the command line."""
import json

import pytest
from typer.testing import CliRunner

import minidl as ml
from minidl.cli import app
from minidl.errors import ArgumentError
from minidl.models.text.bert import BertForMaskedLM, BertForQuestionAnswering, BertModel
from minidl.models.text.gpt2 import GPT2Config, GPT2LMHeadModel

TEXT = ["the quick brown fox jumps over the lazy dog", "a quick answer", "the dog sleeps"] * 20


def run(*args, text=None):
    result = CliRunner().invoke(app, list(map(str, args)), input=text)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A function: a directory of a small model and its tokenizer."""
    def make(kind):
        where = tmp_path_factory.mktemp(kind.__name__)
        writes = kind is GPT2LMHeadModel
        t = ml.text.train_tokenizer(TEXT, 300 if writes else 80, "bpe" if writes else "wordpiece")
        config = GPT2Config.tiny() if writes else kind.config_class.tiny().replace(pad_token_id=t.pad_token_id)
        ml.seed(0)
        kind(config.replace(vocab_size=len(t))).save_pretrained(where)
        t.save_pretrained(where)
        return where
    return make


def test_pipelines(directory):
    found = [json.loads(line) for line in run("pipeline", "fill-mask", directory(BertForMaskedLM), "--set", "top_k=2",
                                              "--json", text="the [MASK]\n[MASK] dog\n").splitlines()]
    assert [len(f) for f in found] == [2, 2] and all("score" in one for f in found for one in f)
    told = run("pipeline", "question-answering", directory(BertForQuestionAnswering), "who?", "--context", "the dog")
    assert told.startswith("who?: 0.")
    with pytest.raises(ArgumentError, match="--context"):
        run("pipeline", "question-answering", directory(BertForQuestionAnswering), "who?")


def test_generating(directory):
    model = directory(GPT2LMHeadModel)
    [whole] = json.loads(run("generate", model, "the", "--tokens", 6, "--json"))
    assert run("generate", model, "-", "--tokens", 6, text="the") == whole["generated_text"] + "\n"     # (streamed)
    drawn = [run("generate", model, "the", "--tokens", 6, "--sample", "--seed", seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_searching(directory, tmp_path):
    (tmp_path / "a.txt").write_text("the dog sleeps\n\na quick answer\n")
    found = json.loads(run("search", directory(BertModel), tmp_path / "a.txt", "a quick answer", "--json"))["found"]
    assert found[0]["index"] == 1 and found[0]["score"] == pytest.approx(1, abs=1e-5) and len(found) == 2
    with pytest.raises(ArgumentError, match="paragraph"):
        run("search", directory(BertModel), tmp_path / "a.txt", "x", "--by", "word")


def test_a_classifier_of_texts_is_trained_and_used(directory, tmp_path):
    rows = [(f"{begins} {word}", label) for word in "fox over lazy jumps".split()
            for begins, label in (("a quick", "answers"), ("the dog", "sleeps"))] * 6
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    told = json.loads(run("train", directory(BertModel), tmp_path / "texts.jsonl", "--epochs", 20, "--lr", 0.02,
                          "--batch", 8, "--out", tmp_path / "run", "--json").splitlines()[-1])
    assert told["best"] == 1.0 and told["metric"] == "accuracy"
    found = run("pipeline", "text-classification", told["model"], "the dog lazy", "--json")
    assert json.loads(found)["label"] == "sleeps"


@pytest.mark.parametrize("name, content, said", [
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}', "a.jsonl, line 2"), ("a.jsonl", "{", "a.jsonl, line 1"),
    ("a.csv", "text,label\na,b\nc,b\n", "two classes"), ("a.csv", "text,kind\na,b\n", "a.csv, line 2"),
    ("a.csv", "text,label\na,b\nc,d\n", "enough to hold some out"), ("a.bin", "", "csv"), ("none", None, "csv")])
def test_texts_that_cannot_be_learned(directory, tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ArgumentError, match=said):
        run("train", directory(BertModel), tmp_path / name, "--out", tmp_path / "run")
    for option in ("--loss", "--weights"):             # of other networks
        with pytest.raises(ArgumentError, match=f"{option}: expected"):
            run("train", directory(BertModel), tmp_path / name, option, "x=1", "--out", tmp_path / "run")
