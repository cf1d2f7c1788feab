"""Language models trained from text to use: a vocabulary, masked tokens, a classifier on the same encoder."""
import numpy as np
import pytest

import minidl as ml
from minidl.data import DataLoader
from minidl.errors import ArgumentError
from minidl.models.text.bert import BertConfig, BertForMaskedLM
from minidl.text import MaskTokens, PadBatch, train_tokenizer
from minidl.train import Accuracy, TextTrainer
from minidl.train.texts import text_task

RNG = np.random.default_rng(0)
WORDS = {"good": "fine great lovely happy bright".split(), "bad": "awful poor sad dark broken".split()}
PLAIN = "the a day house song was is very and film".split()


def sentences(n):
    """[(text, label)]: one word tells."""
    labels = RNG.integers(0, 2, n)
    tell = [RNG.choice(WORDS["good" if label else "bad"]) for label in labels]
    return [(" ".join([*RNG.choice(PLAIN, 4), word, *RNG.choice(PLAIN, 3)]), int(y)) for word, y in zip(tell, labels)]


def fit(model, items, tokenizer, epochs, lr, transform=None, validation=None, **options):
    loader = DataLoader(items, 16, shuffle=True, collate_fn=PadBatch(tokenizer), transform=transform, seed=1)
    held_out = validation and DataLoader(validation, 16, collate_fn=PadBatch(tokenizer))
    return TextTrainer(model, ml.optim.AdamW(model.parameters(), lr=lr), epochs=epochs, clip_norm=1.0,
                       **options).fit(loader, held_out)


def test_from_text_to_a_classifier(tmp_path):
    ml.seed(0)
    texts, held_out = sentences(256), sentences(64)
    t = train_tokenizer([text for text, _ in texts], 140, "wordpiece", lowercase=True)
    config = BertConfig(vocab_size=len(t), hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
                        intermediate_size=64, max_position_embeddings=64, pad_token_id=t.pad_token_id)
    masked = BertForMaskedLM(config)
    history = fit(masked, t([text for text, _ in texts])["input_ids"], t, 3, 5e-3, MaskTokens(t))
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]

    masked.save_pretrained(tmp_path)
    t.save_pretrained(tmp_path)
    model = ml.from_pretrained(tmp_path, head="SequenceClassification", num_labels=2)
    rows = [[{**t(text), "labels": label} for text, label in part] for part in (texts, held_out)]
    history = fit(model, rows[0], t, 4, 3e-3, validation=rows[1], metrics=[Accuracy()])
    assert history[-1]["val_accuracy"] >= 0.95 and history[-1]["val_loss"] < 0.3

    model.labels = "bad", "good"
    model.save_pretrained(tmp_path)
    found = ml.pipeline("text-classification", tmp_path)([text for text, _ in held_out])
    assert np.mean([f["label"] == ("bad", "good")[label] for f, (_, label) in zip(found, held_out)]) >= 0.95


def test_texts_as_other_programs_write_them(tmp_path):
    """Marks of byte order, empty lines, U+2028 in a text, files that only a file manager sees."""
    t, put = train_tokenizer(["a b", "c d"] * 9, 40, "wordpiece"), lambda name, text: (tmp_path / name).write_text(text)
    for name in ("train", "val", "training notes"):
        for file in (tmp_path / name / "yes" / "1", tmp_path / name / "no" / "2", tmp_path / name / ".cache" / "3"):
            file.parent.mkdir(parents=True)
            file.write_text("a b")
        (tmp_path / name / "no" / ".DS_Store").write_bytes(b"\x00\xff")
    put("x.csv", "\ufefftext,label\n" + "a b,yes\nc,no\n" * 5)
    put("x.jsonl", '{"text": "a\u2028b", "label": "yes"}\n\n{"text": "c", "label": "no"}\n\n' * 5)
    for name, counts in (("x.csv", (8, 2)), ("x.jsonl", (8, 2)), ("", (2, 2))):
        task = text_task(tmp_path / name, t, 8)
        assert (len(task.train), len(task.validation)) == counts and task.classes == ("no", "yes")
    put("long.csv", f"text,label\na,b\n{'a' * 200000},c\n")
    with pytest.raises(ArgumentError, match=r"\[text_task\] .*long.csv, behind line 2: expected cells"):
        text_task(tmp_path / "long.csv", t, 8)


def test_batches_that_are_none():
    model = BertForMaskedLM(BertConfig.tiny())
    run = TextTrainer(model, ml.optim.AdamW(model.parameters()))
    for batch in ({"input_ids": np.ones((2, 3), np.int64)}, [1, 2]):
        with pytest.raises(ArgumentError, match="labels"):
            run.train_batch(batch)
