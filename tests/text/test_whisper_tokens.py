"""The vocabularies of Whisper."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.errors import ArgumentError
from minidl.text.whisper import ALSO, LANGUAGES, vocabulary

ENGLISH, MANY, LARGE = (vocabulary(n) for n in (51864, 51865, 51866))


def test_numbers_are_those_of_the_authors():
    """What openai-whisper 20250625 gives."""
    assert [len(v) for v in (ENGLISH, MANY, LARGE)] == [51864, 51865, 51866] and len(LANGUAGES) == 100
    for v, numbers in ((ENGLISH, (50256, 50257, 50360, 50361, 50362, 50363)),
                       (MANY, (50257, 50258, 50361, 50362, 50363, 50364)),
                       (LARGE, (50257, 50258, 50362, 50363, 50364, 50365))):
        assert (v.end, v.start, v.previous, v.no_speech, v.no_timestamps, v.first_time) == numbers
    assert MANY.prompt("de", "translate") == [50258, 50261, 50358] and ENGLISH.prompt() == [50257]
    assert LARGE.languages["yue"] == 50358 and MANY.language("German") == MANY.language("de") == "de"
    assert MANY.language("Flemish") == "nl" and {*ALSO.values()} <= {*LANGUAGES}
    assert MANY.encode("\n Hello, wørld 123!  It's") == [198, 2425, 11, 261, 15499, 348, 34466, 0, 220, 467, 311]
    assert MANY.quiet[:8] == (1, 2, 7, 8, 9, 10, 14, 25) and MANY.quiet[-3:] == (47425, 49870, 50254)
    assert len(MANY.quiet) == 82 and len(ENGLISH.quiet) == 84


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.sampled_from([ENGLISH, MANY]), st.sampled_from(["en", "ja"]))
def test_text_comes_back(text, v, language):
    text = text.encode("utf-8", "replace").decode()
    tokens = v.encode(text)
    assert v.decode(tokens) == text
    words = v.words(tokens, language)
    assert "".join(word for word, _ in words) == text and [t for _, own in words for t in own] == tokens


def test_words():
    def words(text, language="en"):
        return [word for word, _ in MANY.words(MANY.encode(text), language)]

    assert words(" And it's a naïve test, 🙂 (ok).") == [" And", " it's", " a", " naïve", " test", ",", " 🙂", " (ok)."]
    assert words("日本語です", "ja") == ["日本", "語", "です"] and words("日本語です") == ["日本語です"]
    part = MANY.encode(" 🙂")[:-1]                     # two thirds of a character
    assert len(part) == 2 and MANY.words(part) == [(" \N{REPLACEMENT CHARACTER}", part)]


def test_refusals():
    for call, match in ((lambda: vocabulary(32000), "vocab_size: expected 51864 or"),
                        (lambda: MANY.language("Klingon"), "language: expected one of en, zh"),
                        (lambda: ENGLISH.language("de"), "language: expected one of en, got 'de'"),
                        (lambda: MANY.language("yue"), "language"),
                        (lambda: MANY.prompt("en", "summarize"), "task: expected translate or transcribe"),
                        (lambda: ENGLISH.prompt("en", "translate"), "task: expected transcribe, got")):
        with pytest.raises(ArgumentError, match=rf"\[whisper\] {match}"):
            call()
