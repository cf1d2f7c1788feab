"""The `minidl` command."""
import sys

import typer

from ..errors import MinidlError
from . import demo, detect, doctor, forecast, generate, judge, lab, models, predict, speech, text, train

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="A deep-learning framework written from scratch.")
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("forecast")(forecast.forecast)
app.command("pipeline")(text.pipeline)
app.command("search")(text.search)
app.command("judge")(judge.judge)
app.command("transcribe")(speech.transcribe)
app.add_typer(detect.app, name="detect")
app.add_typer(generate.app, name="generate")
app.add_typer(models.app, name="models")
app.add_typer(lab.app, name="lab")


def main():
    """Run the command line: errors of minidl's and the system's are one line, Ctrl-C is exit code 130."""
    try:
        app()
    except (MinidlError, OSError) as error:
        print(f"minidl: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
