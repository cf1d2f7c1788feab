"""The library that splits text into tokens: Hugging Face's `tokenizers`, the extra `text`."""
from ..errors import ArgumentError, message


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
