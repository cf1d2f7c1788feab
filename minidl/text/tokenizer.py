"""A tokenizer: text to tokens, as a model wants them, and back.

    text, pairs of texts -> the library's encodings, truncated -> rows of numbers -> padded -> Encoded
"""
import json
import threading
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, CheckpointError, message, number
from ..tensor import Tensor
from .library import guarded

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
STRATEGIES = {True: "longest_first", "longest_first": "longest_first", "only_first": "only_first",
              "only_second": "only_second"}


class Encoded(dict):
    """What a tokenizer gives: rows of numbers by name; `encodings` holds the library's own, a row each."""

    encodings: list

    def sequence_ids(self, row):
        """Which text each token of a row is of: 0, 1, or None for special ones."""
        return self.encodings[row].sequence_ids

    def word_ids(self, row):
        """The word that each token of a row is of, by number; None for special ones."""
        return self.encodings[row].word_ids

    def tokens(self, row):
        """The tokens of a row, as text."""
        return self.encodings[row].tokens


class Tokenizer:
    """Text to tokens and back, with the arguments and results of Hugging Face's tokenizers.

    Args:
        backend: a `tokenizers.Tokenizer`.
        special: {role of ROLES: token}.
        model_input_names: what a call gives, of input_ids, token_type_ids and attention_mask.
        model_max_length: tokens that the model can read; None: not said.
        padding_side, truncation_side: "left" or "right".

    Raises:
        ArgumentError: a special token is not in the vocabulary.
    """

    saved_as = "PreTrainedTokenizerFast"       # the class of Hugging Face's that reads what `save_pretrained` writes

    def __init__(self, backend, special=(), model_input_names=("input_ids", "attention_mask"), model_max_length=None,
                 padding_side="right", truncation_side="right"):
        self.backend, self.special = backend, {}
        self.model_input_names, self.model_max_length = tuple(model_input_names), model_max_length
        self.padding_side, self.truncation_side = padding_side, truncation_side
        self._lock = threading.Lock()
        for name in ("padding_side", "truncation_side"):
            if getattr(self, name) not in ("left", "right"):
                raise ArgumentError(message("tokenizer", name, "left or right", repr(getattr(self, name))))
        backend.no_padding()
        for role, token in dict(special).items():
            self._set(role, token)

    def __getstate__(self):
        """To be pickled, for workers of a DataLoader."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state):
        vars(self).update(state)
        self._lock = threading.Lock()

    # -- the vocabulary -------------------------------------------------------------------------

    def __len__(self):
        return self.backend.get_vocab_size(with_added_tokens=True)

    def get_vocab(self):
        """{token: number}."""
        return self.backend.get_vocab(with_added_tokens=True)

    def token_to_id(self, token):
        """The number of a token, or None."""
        return self.backend.token_to_id(token)

    def id_to_token(self, index):
        """The token of a number, or None."""
        return self.backend.id_to_token(index)

    def convert_tokens_to_ids(self, tokens):
        """The number of a token, or of each of a list; of an unknown one that of the unknown token.

        Raises:
            ArgumentError: it is unknown, and there is no token for that.
        """
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(t) for t in tokens]
        found = self.token_to_id(tokens)
        found = self.unk_token_id if found is None else found
        if found is None:
            raise ArgumentError(message("tokenizer", "token", "one of the vocabulary", repr(tokens)))
        return found

    def convert_ids_to_tokens(self, ids):
        """The token of a number, or of each of a list."""
        return self.id_to_token(self._numbers([ids])[0]) if np.ndim(ids) == 0 else [
            self.id_to_token(i) for i in self._numbers(ids)]

    def _set(self, role, token):
        if role not in ROLES or not isinstance(token, str) or self.token_to_id(token) is None:
            raise ArgumentError(message("tokenizer", f"{role}_token", f"a token of the vocabulary ({len(self)})",
                                        repr(token), f"Roles: {', '.join(ROLES)}."))
        self.special[role] = token

    @property
    def all_special_ids(self):
        """The numbers of the tokens that have a role, sorted."""
        return sorted({self.token_to_id(t) for t in self.special.values()})

    def num_special_tokens_to_add(self, pair=False):
        """How many special tokens a text, or a pair of texts, gets."""
        return self._side(False).num_special_tokens_to_add(pair)

    # -- text to tokens -------------------------------------------------------------------------

    def __call__(self, text=None, text_pair=None, text_target=None, *, padding=False, truncation=False,
                 max_length=None, stride=0, add_special_tokens=True, is_split_into_words=False,
                 return_overflowing_tokens=False, return_offsets_mapping=False, return_special_tokens_mask=False,
                 return_tensors=None):
        """Encode texts.

        Args:
            text, text_pair: a string, or a list of strings; the second of each pair.
            text_target: what shall be written, in the target's language; alone, or as `labels` beside `text`.
            padding: False; True or "longest", to the longest row; "max_length".
            truncation: False; True or "longest_first"; "only_first"; "only_second": which of a pair is cut.
            max_length: tokens; None: as many as the model reads.
            stride: tokens that an overflowing row repeats.
            add_special_tokens: those that the model wants around texts.
            is_split_into_words: a text is a list of words.
            return_overflowing_tokens: what is cut off makes rows of its own; `overflow_to_sample_mapping` has the
                text of each.
            return_offsets_mapping: `offset_mapping`, where in its text each token starts and ends, in characters.
            return_special_tokens_mask: `special_tokens_mask`, 1 at those that were added.
            return_tensors: None: lists; "np": arrays (N, T), int64; "ml": Tensors.

        Returns:
            Encoded; of one string, without overflow or tensors, its row.

        Raises:
            ArgumentError: no text, lengths that cannot be kept, or padding without a padding token.
        """
        options = dict(padding=padding, truncation=truncation, max_length=max_length,
                       add_special_tokens=add_special_tokens, is_split_into_words=is_split_into_words,
                       return_tensors=return_tensors)
        if text is None:
            return self._encoded(text_target, None, True, **options)
        found = self._encoded(text, text_pair, False, **options, stride=stride, overflow=return_overflowing_tokens,
                              offsets=return_offsets_mapping, mask=return_special_tokens_mask)
        if text_target is not None:
            found["labels"] = self._encoded(text_target, None, True, **options)["input_ids"]
        return found

    def encode(self, text, text_pair=None, **options):
        """The numbers of a text's tokens: `input_ids` of a call."""
        return self(text, text_pair, **options)["input_ids"]

    def _encoded(self, text, text_pair, target, padding, truncation, max_length, add_special_tokens,
                 is_split_into_words, return_tensors, stride=0, overflow=False, offsets=False, mask=False):
        single, items = _items(text, text_pair, is_split_into_words)
        with self._lock:
            backend = self._side(target)
            self._truncate(backend, truncation, max_length, stride, text_pair is not None, add_special_tokens)
            with guarded("tokenizer", "text", "text that can be split, and cut"):
                found = backend.encode_batch(items, is_pretokenized=is_split_into_words,
                                             add_special_tokens=add_special_tokens)
        rows, of = [], []
        for i, encoding in enumerate(found):
            rows += [encoding, *(encoding.overflowing if overflow else ())]
            of += [i] * (len(rows) - len(of))
        names = {"input_ids": lambda e: self._ids(e, target), "token_type_ids": lambda e: e.type_ids,
                 "attention_mask": lambda e: e.attention_mask}
        wanted = [*self.model_input_names, *["offset_mapping"] * offsets, *["special_tokens_mask"] * mask]
        names |= {"offset_mapping": lambda e: e.offsets, "special_tokens_mask": lambda e: e.special_tokens_mask}
        result = Encoded({name: [list(names[name](e)) for e in rows] for name in wanted})
        result.encodings = rows
        if overflow:
            result["overflow_to_sample_mapping"] = of
        if padding:
            self.pad(result, padding, max_length)
        if single and not overflow and return_tensors is None:
            result.update({name: value[0] for name, value in result.items()})
        return _as(result, return_tensors)

    def _side(self, target):
        """The library's tokenizer for what is read, or for what is written."""
        return self.backend

    def _ids(self, encoding, target):
        """The model's numbers of an encoding's tokens."""
        return encoding.ids

    def _truncate(self, backend, truncation, max_length, stride, pair, special):
        if truncation is False or truncation is None:
            return backend.no_truncation()
        if truncation not in STRATEGIES or truncation == "only_second" and not pair:
            expected = "True, longest_first, only_first or, of pairs, only_second"
            raise ArgumentError(message("tokenizer", "truncation", expected, repr(truncation)))
        limit = self.model_max_length if max_length is None else max_length
        if limit is None:
            raise ArgumentError(message("tokenizer", "max_length", "a number of tokens", "none",
                                        "The model's files do not say how many it reads."))
        added = backend.num_special_tokens_to_add(pair) if special else 0
        number("tokenizer", "max_length", limit, added + 1, whole=True)
        number("tokenizer", "stride", stride, 0, limit - added - 1, whole=True)
        backend.enable_truncation(limit, stride=stride, strategy=STRATEGIES[truncation],
                                  direction=self.truncation_side)

    def pad(self, rows, padding=True, max_length=None, padding_side=None, return_tensors=None):
        """Make the rows of each name equally long.

        Args:
            rows: {name: rows}, changed in place; or a list of {name: row}.  Labels are filled with -100.
            padding: True or "longest"; "max_length": to `max_length`, or what the model reads.
            padding_side: "left" or "right"; None: the tokenizer's.
            return_tensors: as of a call.

        Returns:
            {name: rows}, with an attention_mask, if the model takes one.

        Raises:
            ArgumentError: there is no padding token, or a row is longer than max_length.
        """
        if not isinstance(rows, dict):
            rows = Encoded({name: [row[name] if np.ndim(row[name]) == 0 else list(row[name]) for row in rows]
                            for name in (rows[0] if rows else ())})
        ids = rows.get("input_ids", [])
        if "attention_mask" in self.model_input_names and "attention_mask" not in rows:
            rows["attention_mask"] = [[1] * len(row) for row in ids]
        length = max(map(len, ids), default=0)
        if padding == "max_length":
            limit = self.model_max_length if max_length is None else max_length
            length = number("tokenizer", "max_length", limit, length, whole=True)
        elif padding not in (True, "longest"):
            raise ArgumentError(message("tokenizer", "padding", "True, longest or max_length", repr(padding)))
        if any(len(row) < length for row in ids) and self.pad_token_id is None:
            raise ArgumentError(message("tokenizer", "padding", "a padding token", "none",
                                        "Set one, as tokenizer.pad_token = tokenizer.eos_token."))
        fill = {"input_ids": self.pad_token_id, "special_tokens_mask": 1, "offset_mapping": (0, 0), "labels": -100}
        for name, value in rows.items():
            if name == "overflow_to_sample_mapping" or value and np.ndim(value[0]) == 0:
                continue
            wide = max(map(len, value), default=0) if name == "labels" else length
            for i, row in enumerate(value):
                filling = [fill.get(name, 0)] * (wide - len(row))
                value[i] = filling + row if (padding_side or self.padding_side) == "left" else row + filling
        return _as(rows, return_tensors)

    # -- tokens to text -------------------------------------------------------------------------

    def decode(self, ids, skip_special_tokens=False):
        """The text of a row of tokens.

        Raises:
            ArgumentError: numbers that are not in the vocabulary.
        """
        return self._text(self._numbers(ids), skip_special_tokens)

    def batch_decode(self, rows, skip_special_tokens=False):
        """The text of each row."""
        return [self.decode(row, skip_special_tokens) for row in rows]

    def _text(self, ids, skip_special_tokens):
        with guarded("tokenizer", "ids", f"numbers below {len(self)}"):
            return self.backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def _numbers(self, ids):
        numbers = np.asarray(ids.numpy() if isinstance(ids, Tensor) else ids)
        if numbers.ndim != 1 or numbers.size and numbers.dtype.kind not in "iu":
            raise ArgumentError(message("tokenizer", "ids", "a row of whole numbers", numbers.shape))
        if numbers.size and numbers.min() < 0:
            raise ArgumentError(message("tokenizer", "ids", "numbers of tokens", int(numbers.min()),
                                        "Labels that do not count (-100) have no text."))
        return numbers.tolist()

    # -- files ----------------------------------------------------------------------------------

    def save_pretrained(self, directory):
        """Write tokenizer.json and tokenizer_config.json, as Hugging Face's tokenizers read them.

        Raises:
            CheckpointError: the files cannot be written.
        """
        told = {"tokenizer_class": self.saved_as, "model_input_names": list(self.model_input_names),
                "padding_side": self.padding_side, "truncation_side": self.truncation_side,
                **{f"{role}_token": token for role, token in self.special.items()}, **self.describe()}
        if self.model_max_length is not None:
            told["model_max_length"] = self.model_max_length
        directory = Path(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self.write_vocabulary(directory)
            (directory / "tokenizer_config.json").write_text(json.dumps(told, indent=2))
        except OSError as error:
            raise CheckpointError(message("save_pretrained", "directory", f"to write into {directory}",
                                          error)) from error

    def describe(self):
        """What tokenizer_config.json tells besides."""
        return {}

    def write_vocabulary(self, directory):
        """Write what `load_tokenizer` builds the library's tokenizer from."""
        with self._lock:
            backend = self._side(False)
            backend.no_truncation()
            (directory / "tokenizer.json").write_text(backend.to_str(pretty=True))


def _role(role):
    def token(self):
        return self.special.get(role)

    def index(self):
        found = self.special.get(role)
        return None if found is None else self.token_to_id(found)

    told = f"The {role} token"
    return property(token, lambda self, token: self._set(role, token), doc=f"{told}, or None."), property(
        index, doc=f"{told}'s number, or None.")


for _name in ROLES:
    for _end, _property in zip(("token", "token_id"), _role(_name)):
        setattr(Tokenizer, f"{_name}_{_end}", _property)


def _items(text, text_pair, words):
    """(is it one text?, what the library encodes) of a call's texts."""
    def is_text(value):
        return isinstance(value, str) if not words else (
            isinstance(value, (list, tuple)) and all(isinstance(w, str) for w in value))

    single = is_text(text) and not (words and not text)
    texts = [text] if single else text
    pairs = [text_pair] if single and text_pair is not None else text_pair
    for name, values in (("text", texts), ("text_pair", pairs)):
        if values is None and name == "text_pair":
            continue
        if not isinstance(values, (list, tuple)) or not all(map(is_text, values)):
            expected = "lists of words" if words else "a string, or a list of strings"
            raise ArgumentError(message("tokenizer", name, expected, type(values).__name__ if not isinstance(
                values, (list, tuple)) else [type(v).__name__ for v in values][:5]))
    if pairs is None:
        return single, list(texts)
    if len(pairs) != len(texts):
        raise ArgumentError(message("tokenizer", "text_pair", f"{len(texts)} texts", len(pairs)))
    return single, list(zip(texts, pairs))


def _as(rows, kind):
    if kind is None:
        return rows
    if kind not in ("np", "ml"):
        raise ArgumentError(message("tokenizer", "return_tensors", "None, np or ml", repr(kind)))
    for name, value in rows.items():
        if len({len(row) for row in value if isinstance(row, list)}) > 1:
            raise ArgumentError(message("tokenizer", "return_tensors", f"rows of {name} of one length",
                                        "several", "padding=True"))
        array = np.asarray(value, np.int64)
        rows[name] = array if kind == "np" else Tensor(array)
    return rows
