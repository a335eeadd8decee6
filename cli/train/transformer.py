"""`rudolph train transformer`: from a checkpoint, or from scratch over an image tokenizer."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import CliError
from cli.models import choose_start
from cli.train import options

if TYPE_CHECKING:
    from training.fine_tuning import RunSettings
    from training.starts import FreshSizes, Start


class FrozenPart(StrEnum):
    """Parts of the transformer that can be left as they are."""

    EMBEDDINGS = "embeddings"
    ATTENTION = "attention"
    MLP = "mlp"
    NORMS = "norms"
    HEAD = "head"


Init = Annotated[
    str | None, typer.Option("--init", help="Preset (350M, …) or checkpoint folder to start from.")
]
Preset = Annotated[str | None, typer.Option("--preset", help="Architecture of a folder without config.json.")]
ImageTokenizer = Annotated[
    Path | None,
    typer.Option(
        "--image-tokenizer",
        help="Instead of --init: folder of `rudolph train image-tokenizer`, to start from scratch with.",
    ),
]
Layers = Annotated[int, typer.Option("--layers", min=1, help="From scratch: layers.")]
Hidden = Annotated[int, typer.Option("--hidden", min=8, help="From scratch: size of the states.")]
Heads = Annotated[int, typer.Option("--heads", min=1, help="From scratch: attention heads.")]
TextLength = Annotated[
    int, typer.Option("--text-length", min=4, help="From scratch: tokens of the left and the right text.")
]
Vocabulary = Annotated[
    int, typer.Option("--vocabulary", min=64, help="From scratch: tokens to learn from the texts.")
]
Freeze = Annotated[
    list[FrozenPart] | None, typer.Option("--freeze", help="Leave a part as it is; repeatable.")
]
Accumulate = Annotated[int, typer.Option("--accumulate", min=1, help="Parts that a batch is run in.")]
Recompute = Annotated[
    bool, typer.Option("--recompute", help="Activation checkpointing: slower, less memory.")
]
Views = Annotated[int, typer.Option("--views", min=1, help="Encodings of each picture, slightly moved.")]
LeftWeight = Annotated[float, typer.Option("--left-weight", min=0.0, help="Loss weight of the left text.")]
ImageWeight = Annotated[float, typer.Option("--image-weight", min=0.0, help="Loss weight of the image.")]
RightWeight = Annotated[float, typer.Option("--right-weight", min=0.0, help="Loss weight of the right text.")]


def train(
    data: options.Data,
    output: options.Output,
    init: Init = None,
    preset: Preset = None,
    image_tokenizer: ImageTokenizer = None,
    layers: Layers = 6,
    hidden: Hidden = 256,
    heads: Heads = 8,
    text_length: TextLength = 32,
    vocabulary: Vocabulary = 1024,
    freeze: Freeze = None,
    steps: options.Steps = 1000,
    batch: options.Batch = 16,
    accumulate: Accumulate = 1,
    recompute: Recompute = False,
    views: Views = 1,
    learning_rate: options.LearningRate = 1e-5,
    schedule: options.Schedule = options.Schedule.ONE_CYCLE,
    warm_up: options.WarmUp = 100,
    left_weight: LeftWeight = 1.0,
    image_weight: ImageWeight = 7.0,
    right_weight: RightWeight = 1.0,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    bf16: options.Bf16 = True,
    save_every: options.SaveEvery = 120.0,
) -> None:
    """Train the transformer in both directions: pictures from texts and texts from pictures."""
    from training import fine_tuning
    from training.loop import LoopSettings
    from training.optimizer import OptimizerSettings
    from training.sequences import LossWeights
    from training.starts import FreshSizes
    from training.transformer_trainer import TransformerTraining

    settings = TransformerTraining(
        total_steps=steps,
        optimizer=OptimizerSettings(learning_rate, warm_up, schedule.value),
        bf16=bf16,
        checkpoint_activations=recompute,
        frozen=frozenset(part.value for part in freeze or ()),
    )
    run = fine_tuning.RunSettings(
        data=data,
        output=output,
        loop=LoopSettings(total_steps=steps, save_every_s=save_every),
        batch=batch,
        seed=seed,
        device=options.torch_device(device),
        weights=LossWeights(left_weight, image_weight, right_weight),
        accumulate=accumulate,
        views=views,
    )
    sizes = FreshSizes(layers, hidden, heads, text_length, vocabulary)
    with options.plain_errors():
        start = _start(init, preset, image_tokenizer, sizes, run)
        fine_tuning.train_transformer(run, settings, start)


def _start(
    init: str | None,
    preset: str | None,
    image_tokenizer: Path | None,
    sizes: "FreshSizes",
    run: "RunSettings",
) -> "Start":
    from training.data import read_examples
    from training.starts import afresh, from_checkpoint

    if init is not None and image_tokenizer is None:
        folder, named = choose_start(init)
        return from_checkpoint(folder, preset or named)
    if init is None and image_tokenizer is not None:
        texts = [example.text for example in read_examples(run.data)]
        return afresh(image_tokenizer, sizes, texts, run.work, run.seed)
    raise CliError("name one start: --init for a checkpoint, or --image-tokenizer to train from scratch")
