"""Settings on the command line: --set FIELD=VALUE."""
import ast

from ..errors import ArgumentError, message


def settings(command, texts):
    """{field: value} of "FIELD=VALUE" texts; a value that is no Python literal is a word.

    Raises:
        ArgumentError: a text without "=".
    """
    found = {}
    for text in texts:
        name, is_there, value = text.partition("=")
        if not is_there:
            raise ArgumentError(message(command, "--set", "FIELD=VALUE", repr(text)))
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found
