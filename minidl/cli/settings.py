"""Settings on the command line: --set FIELD=VALUE, --loss FIELD=VALUE."""
import ast

from ..errors import ArgumentError, message
from ..models.config import near


def settings(command, texts, option="--set"):
    """{field: value} of "FIELD=VALUE" texts; a value that is no Python literal is a word.

    Raises:
        ArgumentError: a text without "=".
    """
    found = {}
    for text in texts:
        name, is_there, value = text.partition("=")
        if not is_there:
            raise ArgumentError(message(command, option, "FIELD=VALUE", repr(text)))
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def demand_known(command, option, found, known):
    """Refuse what is not known.

    Raises:
        ArgumentError: one of the fields `found` is not in `known`; similar ones are named.
    """
    for wrong in found.keys() - {*known}:
        raise ArgumentError(message(command, option, f"one of {', '.join(known)}", repr(wrong), near(wrong, known)))
