"""Models that hear, from whatever their weights came in: Hugging Face's directories, OpenAI's files, CTranslate2's."""
import json
from pathlib import Path

from ... import io, nn
from ...errors import CheckpointError, message
from ...io import hub
from ..config import frozen
from ..pretrained import from_pretrained
from ..weights import load_weights
from .ctc import Letters
from .whisper import WhisperConfig, WhisperForConditionalGeneration


def load_hearing(path, tokens=None):
    """(model, its tokens, options of its transcriber): a wav2vec 2.0 with CTC and its Letters, or a Whisper.

    Args:
        path: as of `load_whisper`; of wav2vec 2.0 a directory in Hugging Face's layout, or a repository on the hub.
        tokens: a WhisperVocabulary or Letters; None: those of the model.

    Raises:
        CheckpointError: there is none, or its files do not belong together.
    """
    folder = Path(hub.download(path)) if hub.is_name(path) else Path(path)
    if _told(folder / "config.json").get("model_type") != "wav2vec2":
        return load_whisper(folder), tokens, {}
    model, tokens = from_pretrained(folder, head="CTC"), tokens or Letters.load(folder)
    if len(tokens.tokens) > model.config.vocab_size:
        expected = f"at most {model.config.vocab_size} letters, which the model has"
        raise CheckpointError(message("load_hearing", "vocab.json", expected, len(tokens.tokens)))
    return model, tokens, {"normalize": _told(folder / "preprocessor_config.json").get("do_normalize", True)}


def load_whisper(path):
    """A Whisper in evaluation mode.

    Args:
        path: a directory in Hugging Face's layout, or with CTranslate2's model.bin; OpenAI's .pt file; a model.bin; or
            the name of a repository on the hub.

    Raises:
        CheckpointError: there is none, or it is no Whisper's.
    """
    path, told = Path(path), {}
    folder = path if path.is_dir() else path.parent
    if not path.is_file():
        if not path.is_dir() or "architectures" in (told := _told(folder / "config.json")):
            return _aligned(from_pretrained(str(path)), _told(folder / "generation_config.json"))
    config = _config(path)
    with nn.shapes_only():
        model = WhisperForConditionalGeneration(config)
    load_weights(model, path)
    return _aligned(model.eval(), told or _told(folder / "config.json"))


def _told(path):
    """The object in a JSON file; none: {}."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise CheckpointError(message("load_whisper", path.name, "JSON", error)) from error
    return found if isinstance(found, dict) else {}


def _config(path):
    """The sizes that a file without a config.json tells."""
    weights = io.weights(path)
    try:
        if "decoder/embeddings/weight" in weights:
            return WhisperConfig.from_ctranslate2(weights)
        return WhisperConfig.from_openai(io.outline(path)["dims"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(message("load_whisper", "path", "weights of a Whisper", f"{path}, without {error}")) \
            from error


def _aligned(model, told):
    """The model, told which of its heads look where a word is said."""
    heads = told.get("alignment_heads")
    if heads:
        model.config = model.config.replace(alignment_heads=frozen(heads))
    return model
