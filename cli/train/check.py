"""`rudolph train check`: every fault of a data set at once, and what the model will see."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import CliError, output
from cli.models import choose_model, choose_start
from cli.option_groups import with_option_groups
from cli.train import options
from cli.train.tune import Task, tasks_of

Model = Annotated[
    str,
    typer.Option("--init", help="The checkpoint that will be tuned: its vocabulary and lengths are used."),
]
Sheet = Annotated[
    Path | None, typer.Option("--sheet", help="Write the first images as the model sees them to this PNG.")
]


@with_option_groups
def check(
    data: options.Data,
    columns: options.ColumnNames,
    init: Model = "",
    task: Annotated[Task, typer.Option("--task", help="The task that the data are for.")] = Task.CAPTION,
    preset: options.Preset = None,
    sheet: Sheet = None,
) -> None:
    """Check a data set. The exit code is 1 if something in it cannot be used."""
    from training.check import check_data
    from training.initialization import from_checkpoint

    clean = True
    with options.plain_errors():
        folder, named = choose_start(init) if init else (choose_model(None), None)
        start = from_checkpoint(folder, preset or named)
        tasks = tasks_of(task, data, columns)
        if sheet is not None and len(tasks) > 1:
            raise CliError("--sheet shows the images of one task; check the tables of a mix one by one.")
        for each in tasks:
            config, tokenizer = start.transformer.config, start.text_tokenizer
            report = check_data(each, tokenizer, config, start.input_side, sheet)
            output.print(f"{each.task}: {each.data}")
            for line in report.lines():
                output.print(line)
            clean = clean and report.is_clean
    if not clean:
        raise CliError("Some of the data cannot be used; see above.")
