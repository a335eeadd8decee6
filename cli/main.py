"""The `rudolph` command: collects the commands and turns every failure into one line and an exit code."""

import os
import sys

import typer
from typer.exceptions import Abort, TyperException

from cli import caption, classify, doctor, download, generate, jobs, serve, train, worker
from cli.console import CliError, errors

app = typer.Typer(
    name="rudolph",
    help="Serve RuDOLPH, the Russian text-image-text transformer, and use it from the command line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("generate")(generate.generate)
app.command("caption")(caption.caption)
app.command("classify")(classify.classify)
app.command("doctor")(doctor.doctor)
app.command("download")(download.download)
app.command("dead")(jobs.dead)
app.add_typer(jobs.app, name="jobs")
app.add_typer(train.app, name="train")


def main() -> None:
    """Entry point of the console script."""
    try:
        code = app(standalone_mode=False, prog_name="rudolph")
    except CliError as error:
        errors.print(f"[red]error:[/red] {_plain(error)}")
        sys.exit(error.exit_code)
    except TyperException as error:
        message = error.format_message()
        if message:
            errors.print(f"[red]error:[/red] {_plain(message)} (see --help)")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, Abort):
        sys.exit(130)
    except Exception as error:
        if os.environ.get("RUDOLPH_DEBUG"):
            raise
        errors.print(f"[red]error:[/red] {type(error).__name__}: {_plain(error)}")
        errors.print("This was not foreseen; RUDOLPH_DEBUG=1 shows where it happened.")
        sys.exit(70)
    sys.exit(code if isinstance(code, int) else 0)


def _plain(error: object) -> str:
    # Messages may hold square brackets (IPv6 addresses, lists), which are no markup.
    return str(error).replace("[", "\\[")
