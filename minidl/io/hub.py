"""Models of the Hugging Face hub: the files of one that are needed here, in the hub's own cache on this machine.

    "org/name" -> what the hub says is there (or, without it, what the cache has) -> files -> local directory

The client is `huggingface_hub` (the extra `hub`), so its cache, its token and its environment variables are honoured:
HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, and HF_HUB_OFFLINE=1 for the cache alone.
"""
import re
from pathlib import Path

from ..errors import CheckpointError, message
from .weights import IN_DIRECTORY, parts

# What a model's directory may have beside its weights that we read.
BESIDE = ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json",
          "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
          "merges.txt", "spiece.model", "sentencepiece.bpe.model", "source.spm", "target.spm", "tokenizer.model",
          "scheduler_config.json")
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SECONDS = 10                                          # to wait for the hub's first answer


def is_name(text):
    """Is it the name of a model on the hub, "org/name", and no path of something that is here?"""
    return isinstance(text, str) and bool(_NAME.fullmatch(text)) and not Path(text).exists()


def download(name, revision=None):
    """The directory of a model of the hub on this machine; what it lacks of the files that are needed is fetched.

    Needed are the weights, in the first of `weights.IN_DIRECTORY` that is there, with all its shards, and BESIDE.

    Args:
        name: "org/name".
        revision: a branch, a tag or a commit; None: the hub's main branch.

    Returns:
        The path of a directory as `weights` takes it. If the hub cannot be reached, or HF_HUB_OFFLINE is set, that
        of the files in the cache.

    Raises:
        CheckpointError: there is no such model or revision, it has no weights, it cannot be reached and is not in the
            cache, or the `hub` extra is not installed.
    """
    fetch = _opened(name, revision)
    best, lacking = _fetched(fetch)
    if best is None and fetch.unreachable is None:
        raise CheckpointError(message("hub", "name", f"a model with one of {', '.join(IN_DIRECTORY)}",
                                      f"{name} with {', '.join(sorted(fetch.there)[:20]) or 'nothing'}"))
    if best is None or lacking:
        raise fetch.incomplete(lacking or ["weights"])
    return fetch.directory


def download_parts(name, index, folders, revision=None):
    """The directory of models that belong together, each in a folder of its own, with what `download` needs of each.

    Args:
        name, revision: as of `download`.
        index: a file at the top, that says which there are.
        folders: a function: the directory, with the index in it -> the names of the folders that are wanted.

    Raises:
        CheckpointError: as of `download`; there is no index. (Folders may have no weights, as those of tokenizers.)
    """
    fetch = _opened(name, revision)
    if not fetch(index):
        raise fetch.incomplete([index])
    for folder in folders(fetch.directory):
        _, lacking = _fetched(fetch, f"{folder}/")
        if lacking:
            raise fetch.incomplete(lacking)
    return fetch.directory


def _opened(name, revision):
    """What fetches files of a model."""
    client = _client()
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CheckpointError(message("hub", "name", "the name of a model, such as 'google/vit-base-patch16-224'",
                                      repr(name)))
    try:
        return _Fetch(client, name, revision, _listed(client, name, revision))
    except CheckpointError:
        raise
    except Exception as error:                         # (the classes of the client's transport are not its interface)
        return _Fetch(client, name, revision, None, error)


def _fetched(fetch, at=""):
    """(the file of weights that was fetched, or None; shards of it that are lacking) of the folder `at`."""
    best = next((at + file for file in IN_DIRECTORY if fetch(at + file)), None)
    shards = [] if best is None else [at + shard.name for shard in parts(fetch.directory / best)]
    lacking = [shard for shard in shards if not fetch(shard)]
    for file in () if lacking else BESIDE:
        fetch(at + file)
    return best, lacking


def _client():
    try:
        import huggingface_hub.errors
    except ImportError as error:
        raise CheckpointError(message("hub", "huggingface_hub", "the `hub` extra", "no such package",
                                      "pip install 'minidl[hub]'")) from error
    return huggingface_hub


def _listed(client, name, revision):
    """The names of a model's files, as the hub says."""
    errors = client.errors
    try:
        info = client.HfApi().model_info(name, revision=revision, timeout=_SECONDS)
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(message("hub", "revision", f"one that {name} has", repr(revision))) from error
    except errors.GatedRepoError as error:
        raise CheckpointError(message("hub", "name", "a model that one may read",
                                      f"{name}, whose owner asks for consent",
                                      "Accept its terms on its page, and set HF_TOKEN.")) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(message("hub", "name", "a model of the hub", repr(name),
                                      "It is not there, or is private: then set HF_TOKEN.")) from error
    return {file.rfilename for file in info.siblings or ()}


class _Fetch:
    """Brings files of one model into the cache, all of one commit.

    Attributes:
        there: the names of the files that the hub has; None: it cannot be reached, and `unreachable` says why.
        directory: where they are; None before the first one.
    """

    def __init__(self, client, name, revision, there, unreachable=None):
        self.client, self.name, self.revision, self.there, self.directory = client, name, revision, there, None
        self.unreachable = unreachable

    def __call__(self, file):
        """Is the file here now? False: the hub does not have it, or it cannot be reached and the cache lacks it."""
        if self.there is not None and file not in self.there:
            return False
        try:
            path = Path(self.client.hf_hub_download(self.name, file, revision=self.revision,
                                                    local_files_only=self.there is None))
        except self.client.errors.EntryNotFoundError:
            return False
        except Exception as error:
            raise CheckpointError(message("hub", "name", f"to fetch {file} of {self.name}", error)) from error
        directory = path.parents[file.count("/")]
        if self.directory not in (None, directory):
            raise CheckpointError(message("hub", "name", "a model that stays as it is",
                                          f"{self.name}, which was changed while it was fetched", "Try again."))
        self.directory = directory
        return True

    def incomplete(self, lacking):
        """The error for files that are lacking."""
        reason = (f"{type(self.unreachable).__name__}: {self.unreachable}" if self.unreachable
                  else "the hub does not have it")
        revision = f" at {self.revision}" if self.revision else ""
        return CheckpointError(message("hub", "name", "a model that is on the hub or in the cache here",
                                       f"{self.name}{revision} without {', '.join(lacking)} ({reason})",
                                       "Is there a connection? Is HF_HUB_OFFLINE set?" if self.unreachable else ""))
