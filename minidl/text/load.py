"""The tokenizer of a model's directory, whatever files it has."""
import json
import re
from pathlib import Path

from ..errors import CheckpointError, message
from ..io import hub
from .kinds import KINDS
from .library import guarded, tokenizers
from .tokenizer import ROLES, Tokenizer

LARGEST = 10 ** 9                  # above it, model_max_length means that there is no limit


def load_tokenizer(directory, **settings):
    """The tokenizer that a directory holds, in Hugging Face's layout.

    Args:
        directory: with tokenizer.json; or vocab.txt (WordPiece), vocab.json and merges.txt (byte-level BPE),
            spiece.model (T5), sentencepiece.bpe.model (mBART), source.spm, target.spm and vocab.json (MarianMT); or the
            name of a repository on the hub.
        settings: of tokenizer_config.json that shall be others, as padding_side="left", src_lang="ro_RO".

    Raises:
        CheckpointError: there are no such files, or they cannot be read.
        ArgumentError: a special token, or a language, that is not in the vocabulary.
    """
    directory = Path(directory) if Path(directory).is_dir() else hub.download(str(directory))
    with guarded("load_tokenizer", "directory", f"whole files of a tokenizer in {directory}", CheckpointError):
        return _loaded(directory, settings)


def _loaded(directory, settings):
    told, config = _json(directory, "tokenizer_config.json"), _json(directory, "config.json")
    told = {**_json(directory, "special_tokens_map.json"), **told, **settings}
    kind = _kind(directory, told, config)
    if kind is not None:
        told = {**dict(kind.defaults), **told}
    named = {role: _text(told[f"{role}_token"]) for role in ROLES if told.get(f"{role}_token")}
    backend = _backend(directory, kind, told, named)
    special = dict(kind.special) if kind else {}
    if hasattr(backend, "get_vocab"):                  # (MarianMT's makes two of its directory)
        _add(backend, directory, told)
        special = {role: token for role, token in special.items() if backend.token_to_id(token) is not None}
    options = {name: told[name] for name in ("padding_side", "truncation_side", *(kind.settings if kind else ()))
               if told.get(name) is not None}
    if inputs := told.get("model_input_names") or (kind and kind.inputs):
        options["model_input_names"] = inputs
    return (kind.make if kind else Tokenizer)(backend, {**special, **named},
                                              model_max_length=_limit(told, config, kind), **options)


def _backend(directory, kind, told, named):
    """What a Tokenizer is made of: the library's tokenizer, of tokenizer.json or of the older files."""
    path = directory / "tokenizer.json"
    if path.is_file() and kind is not KINDS["marian"]:
        with guarded("load_tokenizer", path.name, "a file of `tokenizers`", CheckpointError):
            return tokenizers().Tokenizer.from_str(path.read_text(encoding="utf-8"))
    if kind is not None and all((directory / file).is_file() for file in kind.files):
        return kind.build(directory, told, {**kind.special, **named})
    known = "; ".join(sorted({" + ".join(k.files) for k in KINDS.values()}))
    raise CheckpointError(message("load_tokenizer", "directory", f"tokenizer.json, or {known}",
                                  ", ".join(sorted(p.name for p in directory.iterdir())) or "nothing"))


def _json(directory, name):
    """The object in a JSON file; none: {}."""
    path = directory / name
    with guarded("load_tokenizer", name, "JSON", CheckpointError):
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(found, dict):
        raise CheckpointError(message("load_tokenizer", name, "an object", type(found).__name__))
    return found


def _text(token):
    """A special token, which may be written as an object."""
    return token.get("content") if isinstance(token, dict) else token


def _kind(directory, told, config):
    """The Kind of a directory: by tokenizer_class, model_type, or the files that are there; None: not known."""
    named = re.sub(r"(Tokenizer)?(Fast)?$", "", str(told.get("tokenizer_class") or "")).lower()
    model = config.get("model_type")
    if named == "mbart50" or model == "mbart" and config.get("vocab_size", 0) > 250027:
        return KINDS["mbart50"]
    for name in (model, named):
        if name in KINDS:
            return KINDS[name]
    if model is not None:
        return None
    return next((kind for kind in KINDS.values() if all((directory / file).is_file() for file in kind.files)), None)


def _add(backend, directory, told):
    """Tokens that were added to the vocabulary, under their numbers."""
    added = {int(i): _text(token) for i, token in (told.get("added_tokens_decoder") or {}).items()}
    added |= {i: token for token, i in _json(directory, "added_tokens.json").items()}
    lacking = [token for _, token in sorted(added.items()) if backend.token_to_id(token) is None]
    backend.add_special_tokens(lacking)
    for i, token in added.items():
        if backend.token_to_id(token) != i:
            raise CheckpointError(message("load_tokenizer", "added tokens", f"{token!r} to be number {i}",
                                          backend.token_to_id(token), "Do these files belong together?"))


def _limit(told, config, kind):
    """How many tokens the model reads, or None."""
    places = config.get("n_positions", config.get("max_position_embeddings", LARGEST)) - (kind.reserved if kind else 0)
    found = min(told.get("model_max_length") or LARGEST, places)
    return int(found) if found < LARGEST else None
