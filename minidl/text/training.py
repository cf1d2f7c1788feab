"""Training a tokenizer on one's own text."""
import json
from pathlib import Path

from ..errors import ArgumentError, message, number
from . import kinds
from .library import guarded, tokenizers
from .sentencepiece import SPACE
from .tokenizer import Tokenizer


def _word_piece(t, texts, lower, size, reserved, min_frequency):
    """Inner characters get numbers before the trainer, whose order of them is another every time, meets them."""
    made = t.Tokenizer(t.models.WordPiece(unk_token="[UNK]"))
    kinds.bert_steps(made, lower)
    texts = list(texts)
    inner = sorted({c for text in texts for c in made.normalizer.normalize_str(text) if not c.isspace()})
    first = [*reserved, *(f"##{c}" for c in inner)]
    number("train_tokenizer", "vocab_size", size, len(first) + len(inner), whole=True)
    made.train_from_iterator(texts, t.trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=min_frequency, special_tokens=first, show_progress=False))
    final = t.Tokenizer(t.models.WordPiece(made.get_vocab(), unk_token="[UNK]"))
    kinds.bert_steps(final, lower)
    final.add_special_tokens(reserved)
    kinds.bert_template(final, kinds.BERT)
    return final


def _byte_level(t, texts, lower, size, reserved, min_frequency):
    alphabet = t.pre_tokenizers.ByteLevel.alphabet()
    number("train_tokenizer", "vocab_size", size, len(reserved) + len(alphabet), whole=True)
    made = t.Tokenizer(t.models.BPE())
    if lower:
        made.normalizer = t.normalizers.Lowercase()
    kinds.byte_steps(made)
    made.train_from_iterator(texts, t.trainers.BpeTrainer(vocab_size=size, min_frequency=min_frequency,
                                                          special_tokens=reserved, show_progress=False,
                                                          initial_alphabet=alphabet))
    return made


def _unigram(t, texts, lower, size, reserved, min_frequency):
    made = t.Tokenizer(t.models.Unigram())
    steps = [t.normalizers.NFKC(), t.normalizers.Replace(t.Regex(r"^\s+|\s+$"), ""),
             t.normalizers.Replace(t.Regex(r"\s+"), " ")]
    made.normalizer = t.normalizers.Sequence(steps + [t.normalizers.Lowercase()] * lower)
    made.pre_tokenizer, made.decoder = t.pre_tokenizers.Metaspace(SPACE), t.decoders.Metaspace(SPACE)
    number("train_tokenizer", "vocab_size", size, len(reserved) + 1, whole=True)
    made.train_from_iterator(texts, t.trainers.UnigramTrainer(vocab_size=size, special_tokens=reserved,
                                                              show_progress=False, unk_token="<unk>"))
    learnt = json.loads(made.to_str())["model"]["vocab"][len(reserved):]
    least = min((score for token, score in learnt if len(token) > 1), default=0.0)
    # The library sums, and ranks characters that it met too rarely, in another order every time.
    own = sorted(((token, round(max(score, least), 6)) for token, score in learnt), key=lambda p: (-p[1], p[0]))
    made.model = t.models.Unigram([*((token, 0.0) for token in reserved), *own], reserved.index("<unk>"), False)
    kinds.template(made, "$A </s>", "$A </s> $B </s>", "</s>")
    return made


# algorithm: (what trains it, special tokens, what a model takes)
ALGORITHMS = {"wordpiece": (_word_piece, kinds.BERT, kinds.SEGMENTS),
              "bpe": (_byte_level, kinds.GPT2, kinds.INPUTS),
              "unigram": (_unigram, {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}, kinds.INPUTS)}


def train_tokenizer(texts, vocab_size, algorithm="bpe", *, lowercase=False, min_frequency=2, special_tokens=(),
                    model_max_length=None):
    """Learn a vocabulary from text.

    Args:
        texts: the path of a text file, or several, or strings.
        vocab_size: tokens at most, special ones included.
        algorithm: "bpe" (bytes, as GPT-2's; any text comes back as it was), "wordpiece" (as BERT's: [CLS], [SEP]) or
            "unigram" (as T5's: </s>).
        lowercase: capital letters are not told from small ones.
        min_frequency: how often a token must have been seen; not of "unigram".
        special_tokens: more of them.
        model_max_length: tokens that the model will read.

    Returns:
        A Tokenizer; `save_pretrained` writes it.

    Raises:
        ArgumentError: no such algorithm, no text, or a vocabulary that has no room for single characters.
    """
    if algorithm not in ALGORITHMS:
        raise ArgumentError(message("train_tokenizer", "algorithm", " or ".join(ALGORITHMS), repr(algorithm)))
    train, special, inputs = ALGORITHMS[algorithm]
    reserved = list(dict.fromkeys([*special.values(), *special_tokens]))
    with guarded("train_tokenizer", "texts", "enough text to learn from"):
        made = train(tokenizers(), _lines(texts), lowercase, vocab_size, reserved, min_frequency)
    return Tokenizer(made, special, inputs, model_max_length)


def _lines(texts):
    """The lines of files, or strings."""
    if isinstance(texts, Path) or isinstance(texts, str) and Path(texts).is_file():
        texts = [Path(texts)]
    elif isinstance(texts, str):
        raise ArgumentError(message("train_tokenizer", "texts", "a file that is there, or strings", repr(texts[:80])))
    for text in texts:
        if isinstance(text, Path):
            with text.open(encoding="utf-8") as lines:
                yield from lines
        else:
            yield text
