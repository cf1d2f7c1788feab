"""`minidl generate`: text, unless the first word says what else."""
import typer
from typer.core import TyperGroup

from .image import image
from .text import generate


class _TextUnlessNamed(TyperGroup):
    """`generate MODEL PROMPT` is `generate text MODEL PROMPT`."""

    def parse_args(self, ctx, args):
        if args and args[0] not in (*self.commands, "--help"):
            args = ["text", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_TextUnlessNamed, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Write on from a text (minidl generate MODEL PROMPT), or draw images (generate image MODEL).")
app.command("text")(generate)
app.command("image")(image)
