"""`rudolph train transformer`: from a checkpoint, or from scratch with an image tokenizer."""

from dataclasses import asdict, astuple, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import CliError
from cli.models import choose_start
from cli.option_groups import with_option_groups
from cli.train import options

if TYPE_CHECKING:
    from training.initialization import FreshSizes, Start


class FrozenPart(StrEnum):
    """Parts of the transformer that can be excluded from training."""

    EMBEDDINGS = "embeddings"
    ATTENTION = "attention"
    MLP = "mlp"
    NORMS = "norms"
    HEAD = "head"


ImageTokenizer = Annotated[
    Path | None,
    typer.Option(
        "--image-tokenizer",
        help="Train from scratch with the image tokenizer in this folder, instead of --init.",
    ),
]
Layers = Annotated[int, typer.Option("--layers", min=1, help="From scratch: number of layers.")]
Hidden = Annotated[int, typer.Option("--hidden", min=8, help="From scratch: hidden size.")]
Heads = Annotated[int, typer.Option("--heads", min=1, help="From scratch: number of attention heads.")]
TextLength = Annotated[
    int, typer.Option("--text-length", min=4, help="From scratch: tokens in the left and in the right text.")
]
Vocabulary = Annotated[
    int,
    typer.Option(
        "--vocabulary", min=64, help="From scratch: size of the vocabulary, learned from the texts."
    ),
]
Freeze = Annotated[
    list[FrozenPart] | None, typer.Option("--freeze", help="Do not train this part; repeatable.")
]
LeftWeight = Annotated[float, typer.Option("--left-weight", min=0.0, help="Loss weight of the left text.")]
ImageWeight = Annotated[float, typer.Option("--image-weight", min=0.0, help="Loss weight of the image.")]
RightWeight = Annotated[float, typer.Option("--right-weight", min=0.0, help="Loss weight of the right text.")]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a transformer from scratch."""

    layers: Layers = 6
    hidden: Hidden = 256
    heads: Heads = 8
    text_length: TextLength = 32
    vocabulary: Vocabulary = 1024


@with_option_groups
def train(
    data: options.Data,
    output: options.Output,
    sizes: Sizes,
    running: options.Running,
    init: options.Init = None,
    preset: options.Preset = None,
    image_tokenizer: ImageTokenizer = None,
    freeze: Freeze = None,
    steps: options.Steps = 1000,
    views: options.Views = 1,
    learning_rate: options.LearningRate = 1e-5,
    left_weight: LeftWeight = 1.0,
    image_weight: ImageWeight = 7.0,
    right_weight: RightWeight = 1.0,
) -> None:
    """Train the transformer in both directions: images from texts and texts from images."""
    from training.initialization import FreshSizes
    from training.sequences import LossWeights
    from training.tasks import TaskData
    from training.transformer_run import train_transformer

    if not left_weight + image_weight + right_weight:
        raise CliError("--left-weight, --image-weight and --right-weight are all 0: nothing is trained.")
    weights = LossWeights(left_weight, image_weight, right_weight)
    tasks = [TaskData("draw", data, 1.0, weights), TaskData("caption", data, 1.0, weights)]
    training = running.training(steps, learning_rate)
    training = replace(training, frozen=frozenset(part.value for part in freeze or ()))
    run = running.run(steps, tasks, output, views or 1)
    with options.plain_errors():
        fresh = FreshSizes(*astuple(sizes))
        start, recipe = _start(init, preset, image_tokenizer, fresh, data, output, running.seed)
        train_transformer(replace(run, recipe=recipe), training, start)


def _start(
    init: str | None,
    preset: str | None,
    image_tokenizer: Path | None,
    sizes: "FreshSizes",
    data: Path,
    output: Path,
    seed: int,
) -> tuple["Start", dict[str, Any]]:
    from training.data import read_examples
    from training.initialization import from_checkpoint, from_scratch

    if init is not None and image_tokenizer is None:
        folder, named = choose_start(init)
        options.require_other_folder(output, folder)
        preset = preset or named
        return from_checkpoint(folder, preset), {"init": str(folder.resolve()), "preset": preset}
    if init is None and image_tokenizer is not None:
        work = output / "training"
        texts = [example.text for example in read_examples(data)]
        start = from_scratch(image_tokenizer, sizes, texts, work, seed)
        recipe = {"image_tokenizer": str(image_tokenizer.resolve()), "sizes": asdict(sizes), "seed": seed}
        return start, recipe
    raise CliError("Use exactly one of --init (a checkpoint) and --image-tokenizer (train from scratch).")
