"""`rudolph train`: check data, tune a checkpoint for a task, or train from scratch.

Parses options. `training` is imported when a command runs, because importing torch takes seconds.
"""

import typer

from cli.train import check, evaluate, export, image_tokenizer, transformer, tune

app = typer.Typer(help="Train on your own images and texts.", no_args_is_help=True)
app.command("check")(check.check)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("transformer")(transformer.train)
app.command("image-tokenizer")(image_tokenizer.train)
