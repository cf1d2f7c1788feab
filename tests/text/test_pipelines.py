"""Pipelines on small models: results are what the model's own outputs say, whatever the batch; heads by task."""
import json

import numpy as np
import pytest

import minidl as ml
from minidl.errors import ArgumentError, CheckpointError
from minidl.models.text.bert import BertForMaskedLM, BertForQuestionAnswering, BertForTokenClassification, BertModel
from minidl.models.text.gpt2 import GPT2LMHeadModel
from minidl.models.text.mbart import MBartForConditionalGeneration
from minidl.models.text.roberta import RobertaForSequenceClassification
from minidl.text import load_tokenizer

from .conftest import TEXTS

NER = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SOME = ["Licensor shall mean the copyright owner", "a", "free software is a matter of liberty", ""]


def small(kind, tokenizer, directory, labels=(), **fields):
    """A directory of a small model, whose scores differ by more than noise, and a tokenizer."""
    ml.seed(3)
    config = kind.config_class.tiny()
    size = {"max_position_embeddings": 128} if hasattr(config, "max_position_embeddings") else {"n_positions": 128}
    model = kind(config.replace(vocab_size=len(tokenizer), **size, **fields)).eval()
    with ml.no_grad():
        for p in model.parameters():
            p.assign(p * 20)
    model.labels = tuple(labels)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def bert(trained, tmp_path_factory):
    def make(kind, labels=(), **fields):
        return small(kind, trained["wordpiece"], tmp_path_factory.mktemp(kind.__name__), labels, pad_token_id=2,
                     **fields)
    return make


def softmax(x):
    y = np.exp(x - x.max(-1, keepdims=True))
    return y / y.sum(-1, keepdims=True)


def alone(model, tokenizer, *texts):
    with ml.no_grad():
        return model(**{k: ml.tensor(np.array([v])) for k, v in tokenizer(*texts).items()})


def test_text_classification(legacy, tmp_path):
    t = load_tokenizer(legacy("roberta"))
    directory = small(RobertaForSequenceClassification, t, tmp_path, ("bad", "so", "good"))
    pipe = ml.pipeline("sentiment-analysis", directory)
    found = pipe(SOME, top_k=None)
    for text, ranked in zip(SOME, found):
        scores = softmax(alone(pipe.model, t, text).logits.numpy()[0])
        assert {r["label"]: pytest.approx(r["score"], abs=1e-6) for r in ranked} == dict(
            zip(("bad", "so", "good"), scores))
        assert [r["score"] for r in ranked] == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
    assert all(len(ranked) == 3 for ranked in pipe(["", "a"], top_k=None))             # (as many labels as tokens)
    assert pipe(SOME[0]) == [found[0][0]] and pipe([]) == [] and pipe(SOME[:2], top_k=2) == [r[:2] for r in found[:2]]
    pair = pipe({"text": SOME[0], "text_pair": SOME[2]}, top_k=None)
    logits = alone(pipe.model, t, SOME[0], SOME[2]).logits.numpy()[0]
    assert pair[0]["score"] == pytest.approx(softmax(logits).max(), abs=1e-6)
    with pytest.raises(ArgumentError, match="truncation=True"):
        pipe("copyright " * 99)
    assert pipe("copyright " * 99, truncation=True)[0]["score"] > 0


def test_entities(bert):
    pipe = ml.pipeline("ner", bert(BertForTokenClassification, NER, num_labels=5))
    t, text = pipe.tokenizer, " ".join(" ".join(TEXTS[30:34]).split())
    tokens = pipe(text, ignore_labels=())
    scores = softmax(alone(pipe.model, t, text).logits.numpy()[0])[1:-1]
    assert [x["entity"] for x in tokens] == [NER[i] for i in scores.argmax(1)]
    assert [x["word"] for x in tokens] == t.convert_ids_to_tokens(t(text)["input_ids"][1:-1])
    assert [x for x in pipe(text)] == [x for x in tokens if x["entity"] != "O"]
    words = text.split()
    for strategy, pick in (("first", lambda s: s[0]), ("average", lambda s: s.mean(0)),
                           ("max", lambda s: s[s.max(1).argmax()])):
        inside, expected = [], []
        for start, word in zip(np.cumsum([0, *(len(w) + 1 for w in words)]), words):
            rows = [i for i, x in enumerate(tokens) if start <= x["start"] < start + len(word)]
            while rows:                                # (punctuation is a word of its own)
                one = [rows.pop(0)]
                while rows and tokens[rows[0]]["word"].startswith("##"):
                    one.append(rows.pop(0))
                inside.append(one)
                expected.append(NER[pick(scores[one]).argmax()])
        groups = pipe(text, aggregation_strategy=strategy, ignore_labels=())
        got = {i: g["entity_group"] for g in groups for i, one in enumerate(inside)
               if g["start"] <= tokens[one[0]]["start"] < g["end"]}
        assert [got[i] for i in range(len(inside))] == [label.partition("-")[2] or label for label in expected]
        assert sum(label[:1] == "B" for label in expected) <= len(groups) <= len(inside)
        assert all(text[g["start"]:g["end"]].lower().split() == g["word"].split() or not g["word"].isalpha()
                   for g in groups)
    offsets = t(text * 4, return_offsets_mapping=True)["offset_mapping"][1:-1]
    long = pipe(text * 4, stride=20, ignore_labels=())                 # (in pieces: each token once)
    assert [(x["start"], x["end"]) for x in long] == offsets


def test_answers(bert):
    pipe = ml.pipeline("question-answering", bert(BertForQuestionAnswering))
    t, question, context = pipe.tokenizer, "who is the owner?", " ".join(TEXTS[30:33])
    encoded = t(question, context, return_offsets_mapping=True)
    offsets, inside = encoded.pop("offset_mapping"), [s == 1 for s in t([question], [context]).sequence_ids(0)]
    with ml.no_grad():
        out = pipe.model(**{k: ml.tensor(np.array([v])) for k, v in encoded.items()})
    keep = np.array(inside) | (np.arange(len(inside)) == 0)
    start, end = (softmax(np.where(keep, x.numpy()[0], -1e4)) for x in (out.start_logits, out.end_logits))
    best = max((start[i] * end[j], i, j) for i in range(len(start)) for j in range(i, min(i + 5, len(end)))
               if inside[i] and inside[j])
    found = pipe({"question": question, "context": context}, max_answer_len=5, align_to_words=False, top_k=3)
    exact = [a for a in found if (a["start"], a["end"]) == (offsets[best[1]][0], offsets[best[2]][1])]
    assert exact and exact[0]["score"] >= best[0] - 1e-6
    assert all(a["answer"] == context[a["start"]:a["end"]] for a in found)
    assert [a["score"] for a in found] == sorted((a["score"] for a in found), reverse=True)
    none = pipe(question=question, context=context, handle_impossible_answer=True, top_k=10_000)
    assert [a["score"] for a in none if a["answer"] == ""] == [pytest.approx(start[0] * end[0], abs=1e-6)]
    several = pipe(question=[question] * 2, context=[context, " ".join(TEXTS[:60])], doc_stride=8)
    assert several[0] == pipe(question=question, context=context) and several[1]["answer"]
    for wrong in ({"question": question, "context": " "}, {"question": question}, "who?"):
        with pytest.raises(ArgumentError, match="context"):
            pipe(wrong)


def test_masks(bert):
    pipe = ml.pipeline("fill-mask", bert(BertForMaskedLM))
    t, text = pipe.tokenizer, "the [MASK] of the work"
    ids = t(text)["input_ids"]
    scores = softmax(alone(pipe.model, t, text).logits.numpy()[0, ids.index(t.mask_token_id)])
    found = pipe(text, top_k=3)
    assert [f["token"] for f in found] == np.argsort(-scores, kind="stable")[:3].tolist()
    assert [f["score"] for f in found] == pytest.approx(np.sort(scores)[::-1][:3], abs=1e-6)
    assert found[0]["sequence"] == f"the {found[0]['token_str']} of the work".replace(" ##", "")
    two = pipe(["[MASK] [MASK]", text], top_k=1, targets=["work", "the"])
    assert len(two[0]) == 2 and {f["token_str"] for f in (*two[0][0], *two[1])} <= {"work", "the"}
    with pytest.raises(ArgumentError, match="MASK"):
        pipe("nothing")


def test_features_do_not_depend_on_the_batch(bert):
    pipe = ml.pipeline("feature-extraction", bert(BertModel), batch_size=3)
    tokens, pooled = pipe(SOME), pipe(SOME, pooling="mean", normalize=True)
    for text, states, vector in zip(SOME, tokens, pooled):
        expected = alone(pipe.model, pipe.tokenizer, text).last_hidden_state.numpy()[0]
        np.testing.assert_allclose(states, expected, atol=1e-5)
        np.testing.assert_allclose(vector, expected.mean(0) / np.linalg.norm(expected.mean(0)), atol=1e-5)
    np.testing.assert_allclose(pipe("a", pooling="cls"), tokens[1][0], atol=1e-6)


@pytest.mark.parametrize("kind, family, name", [
    (GPT2LMHeadModel, "gpt2", "hidden_states"), (MBartForConditionalGeneration, "mbart", "encoder_last_hidden_state")])
def test_features_of_models_that_write(kind, family, name, legacy, tmp_path):
    t = load_tokenizer(legacy(family))
    pipe = ml.pipeline("feature-extraction", small(kind, t, tmp_path))
    row = ml.tensor(np.array([t("a work")["input_ids"]]))
    with ml.no_grad():
        told = {} if name == "hidden_states" else {"decoder_input_ids": row}
        found = pipe.model(row, output_hidden_states=True, **told)[name]
    expected = (found[-1] if isinstance(found, tuple) else found).numpy()[0]
    np.testing.assert_allclose(pipe(["a work", "a"])[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_writing_on(legacy, tmp_path):
    t = load_tokenizer(legacy("gpt2"))
    pipe = ml.pipeline("text-generation", small(GPT2LMHeadModel, t, tmp_path, eos_token_id=0, bos_token_id=0))
    texts = ["free software", "a", "the work of the Licensor, and"]
    found = pipe(texts, max_new_tokens=8)
    assert found == [pipe(text, max_new_tokens=8) for text in texts]                   # (padded on the left, or not)
    for text, [one] in zip(texts, found):
        tokens = pipe.model.generate(np.array([t(text)["input_ids"]]), max_new_tokens=8).numpy()[0]
        assert one["generated_text"] == t.decode(tokens, skip_special_tokens=True) and one[
            "generated_text"].startswith(text)
    assert "".join(pipe.stream("a", max_new_tokens=8)) == pipe("a", max_new_tokens=8, return_full_text=False)[0][
        "generated_text"]
    drawn = pipe("a", max_new_tokens=5, do_sample=True, num_return_sequences=3, seed=1)
    assert len(drawn) == 3 and drawn == pipe("a", max_new_tokens=5, do_sample=True, num_return_sequences=3, seed=1)
    with pytest.raises(ArgumentError, match="max_new_tokens"):
        pipe("a", max_new_tokens=500)
    with pytest.raises(ArgumentError, match="max_new_tokens"):
        list(pipe.stream("a", max_new_tokens=500))


def test_translating(legacy, tmp_path):
    t = load_tokenizer(legacy("mbart"))
    directory = small(MBartForConditionalGeneration, t, tmp_path)
    pipe = ml.pipeline("translation", directory, src_lang="en_XX", tgt_lang="ro_RO")
    expected = pipe.model.generate(np.array([t("a b")["input_ids"]]), max_new_tokens=6,
                                   decoder_start_token_id=t.language_id("ro_RO")).numpy()[0]
    assert pipe(["a b", "the work"], max_new_tokens=6)[0] == {
        "translation_text": t.decode(expected, skip_special_tokens=True)}
    told = json.loads((directory / "config.json").read_text())
    with pytest.raises(ArgumentError, match="goes on"):
        ml.pipeline("text-generation", directory)
    told["decoder_start_token_id"] = 5
    told["task_specific_params"] = {"summarization": {"prefix": "b ", "max_new_tokens": 6, "other": 1}}
    (directory / "config.json").write_text(json.dumps(told))
    pipe = ml.pipeline("summarization", directory)
    assert (pipe.prefix, pipe.settings) == ("b ", {"max_new_tokens": 6}) and "summary_text" in pipe("a")


def test_another_head_on_the_same_encoder(bert, tmp_path):
    masked = ml.from_pretrained(bert(BertForMaskedLM))
    masked.save_pretrained(tmp_path)
    model = ml.from_pretrained(tmp_path, head="TokenClassification", num_labels=7)
    assert model.config.num_labels == 7 and (
        model.encoder.embeddings.word.numpy() == masked.encoder.embeddings.word.numpy()).all()
    with pytest.raises(CheckpointError, match="num_labels=N"):
        ml.from_pretrained(tmp_path, head="TokenClassification")
    with pytest.raises(ArgumentError, match="TokenClassification"):
        ml.from_pretrained(tmp_path, head="TokenClasification")
    bare = ml.from_pretrained(bert(BertForMaskedLM), head="QuestionAnswering", num_labels=2)
    assert isinstance(bare, BertForQuestionAnswering)


def test_settings_of_generation_are_read(legacy, tmp_path):
    small(GPT2LMHeadModel, load_tokenizer(legacy("gpt2")), tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"num_beams": 3, "eos_token_id": [5, 6], "seed": None}))
    model = ml.from_pretrained(tmp_path)
    config = model.generation_config
    assert (config.num_beams, config.ends, config.pad_token_id) == (3, (5, 6), None)
    model.save_pretrained(tmp_path / "again")
    assert ml.from_pretrained(tmp_path / "again").generation_config == config


def test_mistakes(bert, trained, legacy, tmp_path):
    with pytest.raises(ArgumentError, match="fill-mask"):
        ml.pipeline("fil-mask", tmp_path)
    directory = bert(BertModel, hidden_size=8)
    with pytest.raises(CheckpointError, match="classifier"):
        ml.pipeline("text-classification", directory)
    with pytest.raises(ArgumentError, match="one that writes"):
        ml.pipeline("summarization", directory)
    told = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**told, "id2label": {"a": "b"}}))
    with pytest.raises(CheckpointError, match="id2label"):
        ml.pipeline("feature-extraction", directory)
    model = BertModel(BertModel.config_class.tiny())
    with pytest.raises(ArgumentError, match="below 32"):
        ml.pipeline("feature-extraction", model, trained["wordpiece"])
    with pytest.raises(ArgumentError, match="tokenizer"):
        ml.pipeline("feature-extraction", model)
    with pytest.raises(ArgumentError, match="some text"):
        ml.pipeline("feature-extraction", small(GPT2LMHeadModel, load_tokenizer(legacy("gpt2")), tmp_path))("")
