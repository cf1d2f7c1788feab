"""Generating text: what does not change the tokens, what beams find, what filters keep, what is refused."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl.errors import ArgumentError
from minidl.models.text.bart import BartForConditionalGeneration
from minidl.models.text.generation import LogitsProcessor, MaxTime, StoppingCriteria, TextIteratorStreamer
from minidl.models.text.generation import processors as p
from minidl.models.text.gpt2 import GPT2Config, GPT2LMHeadModel
from minidl.models.text.gpt_neo import GPTNeoForCausalLM
from minidl.models.text.marian import MarianMTModel
from minidl.models.text.mbart import MBartForConditionalGeneration
from minidl.models.text.opt import OPTForCausalLM
from minidl.models.text.t5 import T5ForConditionalGeneration

DECODERS = GPT2LMHeadModel, GPTNeoForCausalLM, OPTForCausalLM
WRITERS = (*DECODERS, T5ForConditionalGeneration, BartForConditionalGeneration, MBartForConditionalGeneration,
           MarianMTModel)
PROMPT = np.random.default_rng(0).integers(3, 30, (3, 5))


def made(kind, seed=0, spread=8.0, **changes):
    """A tiny model whose scores differ enough for its greedy choice to be no accident of rounding."""
    ml.seed(seed)
    model = kind(kind.config_class.tiny().replace(**changes)).eval()
    for name, q in model.named_parameters():
        if q.requires_grad and ("wte" in name or name in ("word", "shared", "head")):
            q.assign(q * spread / float(np.abs(q.numpy()).max()))
    return model


def tokens(model, prompt=PROMPT, **settings):
    extra = {"decoder_start_token_id": 4} if isinstance(model, MBartForConditionalGeneration) else {}
    return model.generate(prompt, max_new_tokens=8, **extra, **settings).numpy()


@pytest.mark.parametrize("kind", WRITERS, ids=lambda k: k.__name__)
@pytest.mark.parametrize("strategy", [{}, {"num_beams": 3}, {"do_sample": True, "seed": 3},
                                      {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0}],
                         ids=["greedy", "beams", "sample", "groups"])
def test_a_cache_changes_nothing(kind, strategy):
    model = made(kind)
    plain = tokens(model, use_cache=False, **strategy)
    assert (tokens(model, **strategy) == plain).all()
    assert (tokens(model, cache_implementation="static", **strategy) == plain).all()


@pytest.mark.parametrize("kind", DECODERS, ids=lambda k: k.__name__)
def test_rows_and_padding_change_nothing(kind):
    model = made(kind)
    together = tokens(model, eos_token_id=None, pad_token_id=0)
    for row, line in zip(PROMPT, together):
        assert (tokens(model, row[None], eos_token_id=None)[0] == line).all()
    mask = np.ones((1, 7), int)
    mask[0, :2] = 0
    padded = np.concatenate([[[0, 0]], PROMPT[:1]], 1)
    assert (tokens(model, padded, attention_mask=mask, eos_token_id=None)[0, 2:] == together[0]).all()


@pytest.mark.parametrize("guesses", [1, 3, 20])
def test_a_draft_model_changes_nothing_but_the_time(guesses):
    model = made(GPT2LMHeadModel)
    for draft in (made(GPT2LMHeadModel, seed=5, n_layer=1), model):
        for row in PROMPT:
            assert (tokens(model, row[None], assistant_model=draft, num_assistant_tokens=guesses)
                    == tokens(model, row[None])).all()


def test_drafts_keep_the_distribution():
    """Of the second token, drawn many times with and without a draft model."""
    model = GPT2LMHeadModel(GPT2Config.tiny().replace(vocab_size=5, eos_token_id=None)).eval()
    draft = GPT2LMHeadModel(GPT2Config.tiny().replace(vocab_size=5, n_layer=1, eos_token_id=None)).eval()
    for network in (model, draft):
        network.wte.assign(network.wte * 30)
    prompt, found = [[1, 2]], []
    for assistant in ({}, {"assistant_model": draft}):
        seen = [model.generate(prompt, max_new_tokens=2, do_sample=True, seed=s, **assistant).numpy()[0, 3]
                for s in range(600)]
        found.append(np.bincount(seen, minlength=5) / 600)
    assert np.abs(found[0] - found[1]).max() < 0.09


def test_wide_beams_find_the_best_sequence():
    model = GPT2LMHeadModel(GPT2Config.tiny().replace(vocab_size=4, eos_token_id=None)).eval()
    model.wte.assign(model.wte * 60)
    lines = np.array([[1, a, b, c] for a in range(4) for b in range(4) for c in range(4)])
    with ml.no_grad():
        logs = ml.ops.log_softmax(model(ml.tensor(lines)).logits, -1).numpy()
    totals = sum(logs[np.arange(64), i, lines[:, i + 1]] for i in range(3))
    found = model.generate([[1]], max_new_tokens=3, num_beams=16, num_return_sequences=3, return_dict_in_generate=True,
                           length_penalty=0.0)
    best = np.argsort(-totals, kind="stable")[:3]
    assert (found.sequences.numpy() == lines[best]).all()
    np.testing.assert_allclose(found.sequences_scores.numpy(), totals[best], rtol=1e-5)


def test_seeds():
    model = made(GPT2LMHeadModel, spread=1.0)
    draw = {"do_sample": True, "top_k": 0}
    assert (tokens(model, seed=1, **draw) == tokens(model, seed=1, **draw)).all()
    assert (tokens(model, seed=1, **draw) != tokens(model, seed=2, **draw)).any()
    several = tokens(model, PROMPT[:1], seed=1, num_return_sequences=6, **draw)
    assert len(several) == 6 and len({line.tobytes() for line in several}) > 1


def test_ends():
    model = made(GPT2LMHeadModel)
    first = int(tokens(model, PROMPT[:1])[0, 5])
    ended = tokens(model, PROMPT[:1], eos_token_id=first)
    assert ended.shape == (1, 6)
    assert tokens(model, PROMPT[:1], eos_token_id=(first, 1), min_new_tokens=3).shape[1] >= 8
    both = tokens(model, eos_token_id=first, pad_token_id=0)
    assert (both[0, 6:] == 0).all()
    assert tokens(model, forced_eos_token_id=7, eos_token_id=None)[0, -1] == 7
    assert tokens(model, stopping_criteria=[MaxTime(-1)]).shape[1] == 6

    class AtLength(StoppingCriteria):
        def __call__(self, written, scores):
            return np.full(len(written), written.shape[1] >= 7)
    assert tokens(model, eos_token_id=None, stopping_criteria=[AtLength()]).shape[1] == 7


class Words:
    """A tokenizer of the simplest kind: token i is the word "wi "."""

    def decode(self, line, skip_special_tokens=False):
        return "".join(f"w{i} " for i in line)


def test_streams():
    model, streamer = made(GPT2LMHeadModel), TextIteratorStreamer(Words(), skip_prompt=True)
    written = tokens(model, PROMPT[:1], streamer=streamer)
    assert "".join(streamer) == Words().decode(written[0, 5:])
    with pytest.raises(ArgumentError, match="one sequence"):
        tokens(model, streamer=streamer)


SCORES = st.lists(st.floats(-8, 8, width=32), min_size=8, max_size=8).map(lambda x: np.array([x], "f4"))


@settings(max_examples=60, deadline=None)
@given(SCORES, st.integers(1, 8), st.floats(0.05, 0.99))
def test_filters_keep_what_they_say(scores, k, share):
    line, none = scores[0], np.zeros((1, 0), int)
    kept = np.isfinite(p.TopK(k)(none, scores))[0]
    assert kept.sum() >= k and line[kept].min() >= np.sort(line)[-k]
    probability = p.softmax(scores)[0]
    kept = np.isfinite(p.TopP(share)(none, scores))[0]
    assert probability[kept].sum() >= share - 1e-5 and kept.any()
    assert kept.sum() == 1 or probability[kept].sum() - probability[kept].min() < share + 1e-5
    kept = np.isfinite(p.MinP(share)(none, scores))[0]
    assert (kept == (probability >= np.float32(share) * probability.max())).all()
    kept = np.isfinite(p.Typical(share)(none, scores))[0]
    assert kept.any() and probability[kept].sum() >= share - 1e-5


def test_bans_and_penalties():
    line, scores = np.array([[3, 4, 5, 3, 4]]), np.linspace(-1, 1, 8, dtype="f4")[None]
    banned = p.NoRepeatNGram(3)(line, scores)
    assert np.isneginf(banned[0, 5]) and np.isfinite(np.delete(banned[0], 5)).all()
    banned = p.BadWords([[4, 6], [7], [5, 4, 1]])(line, scores)
    assert set(np.flatnonzero(np.isneginf(banned[0]))) == {6, 7}
    lowered = p.RepetitionPenalty(2.0)(line, scores)
    assert lowered[0, 3] == scores[0, 3] * 2 and lowered[0, 5] == scores[0, 5] / 2 and lowered[0, 0] == scores[0, 0]
    model = made(GPT2LMHeadModel)
    assert (tokens(model, bad_words_ids=[[int(tokens(model)[0, 5])]])[0, 5] != tokens(model)[0, 5])

    class Only(LogitsProcessor):
        def __call__(self, written, scores):
            return np.where(np.arange(scores.shape[1]) == 9, 0, -np.inf).astype("f4")[None].repeat(len(scores), 0)
    assert (tokens(model, logits_processor=[Only()], eos_token_id=None)[:, 5:] == 9).all()


@pytest.mark.parametrize("wrong, text", [({"temperature": 0.0}, "temperature"), ({"top_p": 1.5}, "top_p"),
                                         ({"num_beam": 3}, "num_beams"),
                                         ({"num_beams": 4, "num_beam_groups": 3}, "divisor"),
                                         ({"num_return_sequences": 2}, "num_beams"),
                                         ({"max_new_tokens": 50}, "last place"),
                                         ({"attention_mask": np.ones((1, 2))}, "attention_mask"),
                                         ({"cache_implementation": "paged"}, "static"), ({"top_k": -1}, "top_k")])
def test_wrong_settings(wrong, text):
    model = made(GPT2LMHeadModel)
    with pytest.raises(ArgumentError, match=text):
        model.generate(PROMPT, **wrong)
    for nothing in (np.zeros((0, 3), int), np.zeros((1, 0), int), [1, 2]):
        with pytest.raises(ArgumentError, match="input_ids"):
            model.generate(nothing)
