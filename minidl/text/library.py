"""The library that splits text into tokens: Hugging Face's `tokenizers`, the extra `text`."""
from contextlib import contextmanager

from ..errors import ArgumentError, MinidlError, message


def tokenizers():
    """The module.

    Raises:
        ArgumentError: the extra is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise ArgumentError(message("tokenizer", "tokenizers", "the `text` extra", "no such package",
                                    "pip install 'minidl[text]'")) from error
    return tokenizers


@contextmanager
def guarded(op, argument, expected, kind=ArgumentError):
    """What goes wrong in the library, its panics too, is an error of this kind. (Its own class is Exception itself.)"""
    try:
        yield
    except MinidlError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(message(op, argument, expected, f"{error}"[:200])) from error
