"""What language models are trained to do."""
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl as ml
from minidl.backend.random import key
from minidl.data import DataLoader
from minidl.errors import ArgumentError
from minidl.models.text.electra import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining
from minidl.models.text.t5 import T5ForConditionalGeneration
from minidl.text import CorruptSpans, MaskTokens, PadBatch, load_tokenizer, pack
from minidl.train import ReplacedTokens

from .conftest import TEXTS


def test_a_share_of_tokens_is_hidden_and_never_a_special_one(trained):
    t, hide = trained["wordpiece"], MaskTokens(trained["wordpiece"])
    row = np.array([*t.all_special_ids, *np.arange(5, 395)] * 200)
    found = hide({"input_ids": row, "token_type_ids": row * 0}, key(1))
    seen, labels = np.array(found["input_ids"]), np.array(found["labels"])
    hidden, special = labels != -100, np.isin(row, t.all_special_ids)
    assert (labels[hidden] == row[hidden]).all() and (seen[~hidden] == row[~hidden]).all()
    assert not hidden[special].any() and "token_type_ids" in found
    assert abs(hidden[~special].mean() - 0.15) < 0.005
    shares = [(seen == t.mask_token_id)[hidden].mean(), (seen == row)[hidden].mean()]
    np.testing.assert_allclose(shares, [0.8, 0.1 + 0.1 / 395], atol=0.01)
    assert not np.isin(seen[hidden & (seen != t.mask_token_id)], t.all_special_ids).any()
    assert hide(row, key(1))["labels"] == found["labels"] != hide(row, key(2))["labels"]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_words_are_hidden_whole(legacy, kind):
    """What the tokenizer itself calls a word is the independent judge: it is hidden or it is not."""
    t = load_tokenizer(legacy(kind))
    whole, apart = MaskTokens(t, whole_words=True), MaskTokens(t)
    text = " ".join(word for word in " ".join(TEXTS[:120]).split() if word.isalpha())
    encoded = t(text)
    words = np.array([-1 if word is None else word for word in encoded.word_ids(0)])
    torn = []
    for hide in (whole, apart):
        hidden = np.array(hide(encoded["input_ids"], key(3))["labels"]) != -100
        shares = [hidden[words == word].mean() for word in range(words.max() + 1)]
        torn.append(sum(0 < share < 1 for share in shares))
        assert abs(np.mean(shares) - 0.15) < 0.05
    assert torn[0] == 0 < torn[1]


@pytest.fixture(scope="module")
def t5(legacy):
    return load_tokenizer(legacy("t5"))


@given(st.lists(st.integers(5, 100), min_size=1, max_size=60), st.integers(0, 99), st.floats(0.01, 0.9),
       st.floats(1, 5))
def test_spans_and_what_is_left_are_the_whole(t5, row, seed, density, mean):
    corrupt = CorruptSpans(t5, density, mean)
    found = corrupt([*row, t5.eos_token_id], key(seed))
    read, written = found["input_ids"], found["labels"]
    assert read[-1] == written[-1] == t5.eos_token_id
    sentinels = [x for x in read if x in corrupt.sentinels]
    assert sentinels == [x for x in written if x in corrupt.sentinels] == corrupt.sentinels[:len(sentinels)]
    spans, whole = {}, []
    for token in written[:-1]:
        spans.setdefault(token, []) if token in corrupt.sentinels else spans[list(spans)[-1]].append(token)
    for token in read[:-1]:
        whole += spans[token] if token in corrupt.sentinels else [token]
    assert whole == row and all(spans.values())
    assert abs(sum(map(len, spans.values())) - len(row) * density) <= 1 or len(row) * (1 - density) < 1


def test_batches(trained, t5):
    t = trained["wordpiece"]
    rows = t(TEXTS[:9])["input_ids"]
    loaders = [DataLoader(rows, 4, transform=MaskTokens(t), collate_fn=PadBatch(t), seed=3, num_workers=n)
               for n in (0, 1)]
    for here, there in zip(*loaders):
        assert all((here[name] == there[name]).all() for name in ("input_ids", "labels", "attention_mask"))
        assert (here["labels"][here["attention_mask"] == 0] == -100).all()
    causal = PadBatch(t, causal=True)([[5, 6, 7], [8]])
    assert causal["labels"].tolist() == [[5, 6, 7], [8, -100, -100]]
    assert causal["input_ids"].tolist() == [[5, 6, 7], [8, t.pad_token_id, t.pad_token_id]]
    pairs = [t5(a, text_target=b) for a, b in (("free", "software is free"), ("the work", "a"))]
    batch = PadBatch(t5)(pairs)
    assert batch["input_ids"].shape[1] != batch["labels"].shape[1] and (batch["labels"] == -100).any()
    classes = PadBatch(t)([{"input_ids": [5], "labels": 1}, {"input_ids": [5, 6], "labels": 0}])
    assert classes["labels"].tolist() == [1, 0]
    model = T5ForConditionalGeneration(T5ForConditionalGeneration.config_class.tiny().replace(vocab_size=len(t5)))
    assert model(**{name: ml.tensor(value) for name, value in batch.items()}).loss.item() > 0
    assert pickle.loads(pickle.dumps(t))("a b") == t("a b")


def test_packing():
    assert pack([[1, 2, 3], [4], [5, 6]], 4, separator=0).tolist() == [[1, 2, 3, 0], [4, 0, 5, 6]]
    assert pack(iter([[1, 2], [3]]), 1).tolist() == [[1], [2], [3]]
    with pytest.raises(ArgumentError, match="at least 4"):
        pack([[1]], 4)


def test_replaced_tokens_are_learnt():
    """Rows of one token each: a wrong guess stands out, a right one does not."""
    ml.seed(0)
    config = ElectraConfig.tiny().replace(vocab_size=16, hidden_size=32, intermediate_size=64, embedding_size=32,
                                          initializer_range=0.2)
    both = ReplacedTokens(ElectraForMaskedLM(config), ElectraForPreTraining(config), weight=5.0)
    assert both.generator.encoder.embeddings.word is both.discriminator.encoder.embeddings.word
    assert both.num_parameters() < sum(m.num_parameters() for m in (both.generator, both.discriminator))
    rng, optimizer, losses = np.random.default_rng(0), ml.optim.AdamW(both.parameters(), lr=1e-2), []
    mask = ml.tensor(np.repeat([[1] * 11 + [0]], 16, 0))
    for step in range(60):
        rows = 4 + np.repeat(rng.integers(0, 12, (16, 1)), 12, 1)
        hidden = rng.random(rows.shape) < 0.2
        read, labels = (ml.tensor(np.where(hidden, *pair)) for pair in ((3, rows), (rows, -100)))
        out = both(read, mask, labels=labels, key=key(step))
        replaced = out.replaced.numpy()
        assert (replaced[:, -1] == -100).all() and not replaced[:, :-1][~hidden[:, :-1]].any()
        losses.append((out.generator_loss.item(), out.discriminator_loss.item()))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    losses = np.array(losses)
    assert (losses[-10:].mean(0) < 0.3 * losses[:10].mean(0)).all()


@pytest.mark.parametrize("call, text", [
    (lambda t: MaskTokens(t["unigram"]), "mask token"), (lambda t: MaskTokens(t["wordpiece"], 1.5), "probability"),
    (lambda t: CorruptSpans(t["bpe"]), "extra_id_0"), (lambda t: MaskTokens(t["wordpiece"])([], key(0)), "a row"),
    (lambda t: pack([[1]], 0), "length")])
def test_mistakes(call, text, trained):
    with pytest.raises(ArgumentError, match=text):
        call(trained)
