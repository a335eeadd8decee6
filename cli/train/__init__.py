"""`rudolph train`: the image tokenizer or the transformer on your own pictures, and the demo checkpoint.

Knows options; the work is in `training`, imported when a command runs (torch takes seconds).
"""

import typer

from cli.train import demo, image_tokenizer, quality, transformer

app = typer.Typer(help="Train on your own pictures and texts.", no_args_is_help=True)
app.command("transformer")(transformer.train)
app.command("image-tokenizer")(image_tokenizer.train)
app.command("demo")(demo.make)
app.command("quality")(quality.measure)
