"""The `rudolph` command. Collects the commands, and turns every failure into one line and an exit code."""

import importlib.metadata
import os
import sys
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from cli import (
    answer,
    caption,
    checkpoints,
    classify,
    continuation,
    doctor,
    download,
    generate,
    jobs,
    rank,
    redraw,
    serve,
    train,
    worker,
    workers,
)
from cli.console import CliError, errors, output, print_error
from cli.surroundings import Interrupted, prepare

app = typer.Typer(
    name="rudolph",
    help="Serve RuDOLPH, the Russian text-image-text transformer, or use it from the command line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        output.print(f"rudolph {importlib.metadata.version('rudolph-server')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("generate")(generate.generate)
app.command("caption")(caption.caption)
app.command("classify")(classify.classify)
app.command("redraw")(redraw.redraw)
app.command("continue")(continuation.continue_text)
app.command("answer")(answer.answer)
app.add_typer(rank.app, name="rank")
app.command("models")(checkpoints.models)
app.command("doctor")(doctor.doctor)
app.command("download")(download.download)
app.command("dead")(jobs.dead)
app.add_typer(jobs.app, name="jobs")
app.add_typer(workers.app, name="workers")
app.add_typer(train.app, name="train")


def main() -> None:
    """Entry point of the console script."""
    prepare()
    try:
        code = app(standalone_mode=False, prog_name="rudolph")
    except CliError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except TyperException as error:
        message = error.format_message()
        if message:
            print_error(f"{message} (see --help)")
        sys.exit(error.exit_code)
    except Interrupted as interruption:
        sys.exit(interruption.exit_code)
    except (KeyboardInterrupt, Abort):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has ended. Nothing is left to flush into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("RUDOLPH_DEBUG"):
            raise
        print_error(f"{type(error).__name__}: {error}")
        errors.print("Unexpected error; set RUDOLPH_DEBUG=1 for a traceback and report it.")
        sys.exit(70)
    sys.exit(code if isinstance(code, int) else 0)
