"""Tokenizers: from every family's files, trained, padded, cut, and back to text."""
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl.errors import ArgumentError, CheckpointError, MinidlError
from minidl.text import load_tokenizer, sentencepiece

from .conftest import MODEL, SENTENCEPIECE, TEXTS

# family -> (tokens around A, around A and B), and segments of the pair
AROUND = {
    "bert": ("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]"), "electra": ("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]"),
    "distilbert": ("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]"),
    "roberta": ("<s> A </s>", "<s> A </s> </s> B </s>"), "bart": ("<s> A </s>", "<s> A </s> </s> B </s>"),
    "gpt2": ("A", "A B"), "gpt_neo": ("A", "A B"), "opt": ("</s> A", "</s> A </s> B"),
    "t5": ("A </s>", "A </s> B </s>"), "mbart": ("A </s> en_XX", "A B </s> en_XX"),
    "mbart50": ("en_XX A </s>", "en_XX A B </s>"), "marian": ("A </s>", "A B </s>")}


def bare(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", AROUND)
def test_special_tokens_of_every_family(kind, legacy):
    t = load_tokenizer(legacy(kind))
    parts = {"A": bare(t, "free software"), "B": bare(t, "is a matter of liberty")}
    for around, given_ in zip(AROUND[kind], (("free software",), ("free software", "is a matter of liberty"))):
        expected = sum((parts.get(word) or [t.token_to_id(word)] for word in around.split()), [])
        found = t(*given_)
        assert found["input_ids"] == expected and None not in expected
        assert list(found) == list(t.model_input_names)
        assert ("token_type_ids" in found) == (kind in ("bert", "electra"))
        if "token_type_ids" in found and len(given_) == 2:
            assert found["token_type_ids"] == [0] * (len(parts["A"]) + 2) + [1] * (len(parts["B"]) + 1)
    assert t.decode(t("free software")["input_ids"], skip_special_tokens=True).strip() == "free software"


@pytest.mark.parametrize("kind", AROUND)
def test_saved_and_loaded_is_the_same(kind, legacy, tmp_path):
    t = load_tokenizer(legacy(kind), padding_side="left")
    t.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (tmp_path / "tokenizer.json").exists() or kind == "marian"
    for text in (TEXTS[20], "", " é 日本  <mask> x"):
        assert again(text, text) == t(text, text)
    assert (again.special, again.padding_side, len(again)) == (t.special, "left", len(t))


@pytest.mark.parametrize("name", MODEL)
def test_sentencepiece_as_its_own_library(name, tmp_path):
    (tmp_path / "m.spm").write_bytes(MODEL[name])
    made, told = sentencepiece.build(sentencepiece.read(tmp_path / "m.spm")), SENTENCEPIECE[name]
    for text, ids, decoded in zip(SENTENCEPIECE["texts"], told["ids"], told["decoded"]):
        assert made.encode(text).ids == ids
        assert 0 in ids or made.decode(ids) == decoded


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60), st.integers(0, len(MODEL["unigram"])))
def test_a_damaged_sentencepiece_file_is_an_error_or_read(tmp_path_factory, noise, at):
    path = tmp_path_factory.mktemp("spm") / "m.spm"
    path.write_bytes(MODEL["unigram"][:at] + noise)
    try:
        assert sentencepiece.read(path).pieces
    except CheckpointError as error:
        assert "SentencePiece" in str(error)


@settings(deadline=None, max_examples=80)
@given(st.data(), st.sampled_from(["bert", "roberta", "t5", "mbart", "marian"]), st.binary(min_size=1, max_size=8))
def test_a_damaged_directory_is_an_error_or_read(legacy, data, kind, noise):
    directory = legacy(kind)
    if kind in ("roberta", "t5") and data.draw(st.booleans()):
        load_tokenizer(directory).save_pretrained(directory)
    path = data.draw(st.sampled_from(sorted(directory.iterdir())))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:at] + noise + whole[at + data.draw(st.integers(0, 50)):])
    try:
        t = load_tokenizer(directory)
        t.decode(t(["Hello ﬁ world", "<mask>"])["input_ids"][0])
    except MinidlError as error:
        assert str(error).startswith("[")


def test_pieces_of_sentencepiece_have_the_numbers_of_the_family(legacy):
    unigram, text = SENTENCEPIECE["unigram"], SENTENCEPIECE["texts"][1]
    ids, pieces = unigram["ids"][1], unigram["pieces"][1]
    assert bare(load_tokenizer(legacy("t5")), text) == ids
    assert load_tokenizer(legacy("t5")).token_to_id("<extra_id_0>") == 150 + 99
    assert bare(load_tokenizer(legacy("mbart")), text) == [i + 1 for i in ids]         # (<pad> is fairseq's)
    marian = load_tokenizer(legacy("marian"))
    assert bare(marian, text) == [marian.vocabulary[p] for p in pieces]
    assert marian(">>es<< a")["input_ids"][0] == 2 and marian.decode(bare(marian, text)) == unigram["decoded"][1]
    target = marian(text_target=text)["input_ids"]                                     # (by the other file's pieces)
    assert target == [marian.vocabulary.get(p, 1) for p in SENTENCEPIECE["bpe"]["pieces"][1]] + [0]


def test_languages_of_mbart(legacy):
    t = load_tokenizer(legacy("mbart"), src_lang="ro_RO", tgt_lang="de_DE")
    found = t("a", text_target="a")
    assert t.convert_ids_to_tokens([found["input_ids"][-1], found["labels"][-1]]) == ["ro_RO", "de_DE"]
    t.src_lang = "fr_XX"
    assert t("a")["input_ids"][-1] == t.language_id("fr_XX")
    with pytest.raises(ArgumentError, match="ro_RO"):
        t.tgt_lang = "xx_XX"
    assert len(t) == 150 + 1 + 25 + 1 and len(load_tokenizer(legacy("mbart50"))) == 150 + 1 + 52 + 1


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back_from_bytes(trained, text):
    t = trained["bpe"]
    if not any(special in text for special in t.get_vocab() if special[:1] == "<"):
        assert t.decode(t(text)["input_ids"]) == text


@pytest.mark.parametrize("algorithm", ["wordpiece", "unigram", "bpe"])
def test_training(algorithm, trained):
    t = trained[algorithm]
    text = "Licensor shall mean the copyright owner"
    found = t(text, return_offsets_mapping=True)
    assert 300 < len(t) <= 400 and len(found["input_ids"]) < len(text) / 2
    plain = t.decode(found["input_ids"], skip_special_tokens=True)
    assert plain == (text.lower() if algorithm == "wordpiece" else text)
    tokens = [text[a:b] for a, b in found["offset_mapping"]]
    assert "".join(tokens).replace(" ", "") == text.replace(" ", "")
    assert trained[algorithm].pad_token_id is not None or algorithm == "bpe"


@settings(deadline=None)
@given(st.integers(1, 20), st.data(), st.sampled_from(["left", "right"]))
def test_what_is_cut_off_comes_in_other_rows(trained, room, data, side):
    t, stride = trained["wordpiece"], data.draw(st.integers(0, room - 1))
    question, text = "who?", " ".join(TEXTS[30:36])
    length = len(t(question)["input_ids"]) + 1 + room
    whole = bare(t, text)
    t.padding_side = side
    try:
        found = t(question, text, truncation="only_second", max_length=length, stride=stride, padding=True,
                  return_overflowing_tokens=True, return_offsets_mapping=True, return_tensors="np")
    finally:
        t.padding_side = "right"
    assert found["input_ids"].shape[1] == length and set(found["overflow_to_sample_mapping"]) == {0}
    seen = {}
    for row, ids in enumerate(found["input_ids"]):
        ends = np.flatnonzero(found["attention_mask"][row])
        assert (ends == np.arange(len(ends)) + (length - len(ends)) * (side == "left")).all()
        assert (ids[found["attention_mask"][row] == 0] == t.pad_token_id).all()
        of = [i for i, s in enumerate(found.sequence_ids(row)) if s == 1]
        shift = (length - len(ends)) * (side == "left")
        seen |= {tuple(found["offset_mapping"][row, i + shift]): ids[i + shift] for i in of}
    assert [seen[key] for key in sorted(seen)] == whole


def test_padding_and_tensors(trained):
    t = trained["wordpiece"]
    found = t(["a", "the work of the licensor"], padding="max_length", max_length=12, return_tensors="ml")
    assert isinstance(found["input_ids"], ml.Tensor) and found["input_ids"].shape == (2, 12)
    assert found["attention_mask"].numpy().sum(1).tolist() == [len(t(x)["input_ids"]) for x in (
        "a", "the work of the licensor")]
    rows = t.pad([{"input_ids": [5, 6], "labels": [1]}, {"input_ids": [7], "labels": [2, 3]}], return_tensors="np")
    assert rows["input_ids"].tolist() == [[5, 6], [7, t.pad_token_id]] and rows["labels"].tolist() == [[1, -100],
                                                                                                     [2, 3]]
    words = t([["free", "software"]], is_split_into_words=True)
    assert words["input_ids"] == t(["free software"])["input_ids"] and words.word_ids(0)[1] == 0


@pytest.mark.parametrize("call, text", [
    (lambda t: t(3), "string"), (lambda t: t(["a", None]), "string"), (lambda t: t(["a"], ["b", "c"]), "1 texts"),
    (lambda t: t("a", truncation=True), "max_length"), (lambda t: t("a", truncation=True, max_length=2), "at least 3"),
    (lambda t: t("a", truncation="only_second", max_length=9), "only_second"),
    (lambda t: t("a b", truncation=True, max_length=5, stride=5), "stride"),
    (lambda t: t("\ud800"), "text"), (lambda t: t(["a", "a b c"], return_tensors="np"), "padding=True"),
    (lambda t: t.decode([-100]), "-100"), (lambda t: t.decode([1.5]), "whole"),
    (lambda t: setattr(t, "pad_token", "<nowhere>"), "vocabulary"),
    (lambda t: t("a" * 9, "b", truncation="only_second", max_length=6), "cut"),
    (lambda t: t("who?", TEXTS[30], truncation="only_second", max_length=8, stride=4), "cut"),
    (lambda t: t.pad({"input_ids": [[1], [1, 2]]}, "max_length", 1), "max_length")])
def test_mistakes(call, text, trained):
    with pytest.raises(ArgumentError, match=text):
        call(trained["wordpiece"])


def test_no_padding_without_a_token_for_it(legacy):
    t = load_tokenizer(legacy("gpt2"))
    with pytest.raises(ArgumentError, match="eos_token"):
        t(["a", "a b"], padding=True)
    t.pad_token = "<s>"
    assert t(["a", "a b"], padding=True)["input_ids"][0][-1] == t.token_to_id("<s>")


def test_directories_that_are_none(legacy, tmp_path):
    with pytest.raises(CheckpointError, match="tokenizer.json"):
        load_tokenizer(tmp_path)
    for name, text in (("tokenizer.json", "{}"), ("tokenizer_config.json", "[1]"), ("tokenizer_config.json", "{")):
        directory = legacy("bert")
        (directory / name).write_text(text)
        with pytest.raises(CheckpointError, match=name):
            load_tokenizer(directory)
    with pytest.raises(ArgumentError, match="<nowhere>"):
        load_tokenizer(legacy("bert", pad_token="<nowhere>"))
    (directory := legacy("bert")).joinpath("vocab.txt").write_text("a\nb")
    with pytest.raises(CheckpointError, match="CLS"):
        load_tokenizer(directory)
    (directory := legacy("gpt2")).joinpath("merges.txt").write_text("x")
    with pytest.raises(CheckpointError, match="merges"):
        load_tokenizer(directory)
    directory = legacy("t5", added_tokens_decoder={"3": {"content": "<new>"}})
    with pytest.raises(CheckpointError, match="<new>"):
        load_tokenizer(directory)


@pytest.mark.parametrize("call, text", [
    (lambda: ml.text.train_tokenizer(TEXTS, 200), "at least"),
    (lambda: ml.text.train_tokenizer("nowhere", 300), "file"),
    (lambda: ml.text.train_tokenizer(TEXTS, 300, "bp"), "wordpiece")])
def test_mistakes_of_training(call, text):
    with pytest.raises(ArgumentError, match=text):
        call()


def test_a_tokenizer_trained_from_a_file_is_that_of_its_lines(tmp_path, trained):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    found = ml.text.train_tokenizer(tmp_path / "a.txt", 400, "wordpiece", lowercase=True)
    assert found.get_vocab() == trained["wordpiece"].get_vocab()
    assert json.loads(found.backend.to_str())["model"]["type"] == "WordPiece"


@pytest.mark.parametrize("algorithm", ["wordpiece", "unigram", "bpe"])
def test_training_gives_the_same_every_time(algorithm):
    assert len({ml.text.train_tokenizer(TEXTS, 400, algorithm).backend.to_str() for _ in range(3)}) == 1


@pytest.mark.parametrize("kind", ["marian", "mbart", "bert"])
def test_threads_share_a_tokenizer(kind, legacy):
    t = load_tokenizer(legacy(kind), **({"src_lang": "ro_RO", "tgt_lang": "de_DE"} if kind == "mbart" else {}))
    calls = [{"text": "the work of"}, {"text_target": "the work of"},
             {"text": "the work of", "truncation": True, "max_length": 4}] * 60
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda call: t(**call), calls)) == [t(**call) for call in calls]
