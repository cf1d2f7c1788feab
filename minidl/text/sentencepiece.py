"""SentencePiece models (.model, .spm): their pieces, read from the protobuf, as a tokenizer of the library's.

Source: Kudo, Richardson 2018, "SentencePiece", arXiv:1808.06226; Kudo 2018, "Subword Regularization",
arXiv:1804.10959 (Unigram); the file: sentencepiece_model.proto; protobuf's encoding: protobuf.dev/programming-guides/
encoding.
"""
import struct
from dataclasses import dataclass

from ..errors import CheckpointError, message
from .library import tokenizers

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"           # what stands for a space in pieces
UNIGRAM, BPE = 1, 2
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclass(frozen=True)
class Pieces:
    """What a SentencePiece model holds.

    Args:
        pieces: [(text, score)], by number.
        kinds: NORMAL, ... of each.
        algorithm: UNIGRAM or BPE.
        charsmap: how characters are normalised, compiled.
        byte_fallback: unknown characters become bytes.
        dummy_prefix: a space is put in front of a text.
        strip: spaces at the ends, and repeated ones, go.
    """

    pieces: list
    kinds: list
    algorithm: int = UNIGRAM
    charsmap: bytes = b""
    byte_fallback: bool = False
    dummy_prefix: bool = True
    strip: bool = True

    @property
    def unknown(self):
        """The number of the unknown piece."""
        return self.kinds.index(UNKNOWN)


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _fields(data):
    """(number, value) of the fields of a protobuf message: whole numbers, floats, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise IndexError("it ends too early")
            value, at = data[at:at + size], at + size
        elif wire in (1, 5):
            size, form = (8, "<d") if wire == 1 else (4, "<f")
            value, at = struct.unpack_from(form, data, at)[0], at + size
        else:
            raise ValueError(f"wire type {wire}")
        yield tag >> 3, value


def read(path):
    """The Pieces of a file.

    Raises:
        CheckpointError: it is not one of SentencePiece's.
    """
    pieces, kinds, trainer, normalizer = [], [], {}, {}
    try:
        for name, value in _fields(path.read_bytes()):
            if name == 1:
                told = dict(_fields(value))
                pieces.append((told[1].decode(), float(told.get(2, 0.0))))
                kinds.append(told.get(3, NORMAL))
            elif name == 2:
                trainer = dict(_fields(value))
            elif name == 3:
                normalizer = dict(_fields(value))
        found = Pieces(pieces, kinds, trainer.get(3, UNIGRAM), bytes(normalizer.get(2, b"")), bool(trainer.get(35, 0)),
                       bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1)))
        if found.unknown < 0 or found.algorithm not in (UNIGRAM, BPE):
            raise ValueError(f"algorithm {found.algorithm}")
    except (OSError, ValueError, IndexError, KeyError, AttributeError, TypeError, struct.error) as error:
        raise CheckpointError(message("load_tokenizer", path.name, "a SentencePiece model, Unigram or BPE",
                                      f"{type(error).__name__}: {error}")) from error
    return found


def build(model, vocabulary=None, unknown=None):
    """The library's tokenizer of Pieces.

    Args:
        model: the Pieces.
        vocabulary: [(text, score)] by number, if a model counts pieces otherwise; None: model's.
        unknown: the number of the unknown piece in it.
    """
    t = tokenizers()
    vocabulary = model.pieces if vocabulary is None else vocabulary
    unknown = model.unknown if unknown is None else unknown
    if model.algorithm == BPE:
        number = {piece: i for i, (piece, _) in enumerate(vocabulary)}
        made = t.Tokenizer(t.models.BPE(number, merges(model.pieces), unk_token=vocabulary[unknown][0], fuse_unk=True,
                                        byte_fallback=model.byte_fallback))
    else:
        made = t.Tokenizer(t.models.Unigram(vocabulary, unknown, model.byte_fallback))
    steps = [t.normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.strip:
        steps += [t.normalizers.Replace(t.Regex(found), new) for found, new in ((r"\A +| +\z", ""), (" {2,}", " "))]
    made.normalizer = t.normalizers.Sequence(steps)
    scheme = "always" if model.dummy_prefix else "never"
    made.pre_tokenizer = t.pre_tokenizers.Metaspace(SPACE, scheme)
    joined = t.decoders.Metaspace(SPACE, scheme)
    made.decoder = t.decoders.Sequence([t.decoders.ByteFallback(), joined]) if model.byte_fallback else joined
    own = [p for (p, _), kind in zip(model.pieces, model.kinds) if kind == USER_DEFINED]
    made.add_tokens([t.AddedToken(p, normalized=False) for p in own])
    return made


def merges(pieces):
    """The merges that make pieces of two others, those of higher scores first."""
    scores = dict(pieces)
    found = []
    for piece, score in pieces:
        halves = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        found += [(score, pair) for pair in sorted((p for p in halves if p[0] in scores and p[1] in scores),
                                                   key=lambda p: (scores[p[0]], scores[p[1]]), reverse=True)]
    return [pair for _, pair in sorted(found, key=lambda m: -m[0])]
