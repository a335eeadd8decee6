"""Trains the image tokenizer on the images of a data set, and writes its folder.

Knows folders and settings. The trainer knows steps and losses.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from model.config import VqganConfig
from model.files.checkpoint import save_checkpoint
from training.augment import augment_images
from training.data import Example, Needs, load_pixels, read_examples
from training.encoding import GENTLE
from training.generation import write_generation_config
from training.image_tokenizer_trainer import (
    ImageBatch,
    ImageTokenizerTrainer,
    TokenizerTraining,
    has_nearest_projection,
)
from training.initialization import (
    VOCABULARY_FILE,
    fresh_image_tokenizer,
    from_checkpoint,
    hash_weights,
    load_image_tokenizer,
    save_image_tokenizer,
)
from training.loop import LoopSettings, run_loop
from training.model_card import write_model_card
from training.run_folder import lock_folder
from training.state import epoch_batch, step_generator

CPU = torch.device("cpu")


@dataclass(frozen=True)
class ImageTokenizerRun:
    """Settings of a run, besides those of the trainer."""

    data: Path
    output: Path
    """Folder of the result; its folder `training` has the state, logs and sheets of the run."""
    loop: LoopSettings
    batch: int = 16
    seed: int = 0
    device: torch.device = CPU

    @property
    def work(self) -> Path:
        return self.output / "training"


def train_image_tokenizer(
    run: ImageTokenizerRun, settings: TokenizerTraining, init: Path | VqganConfig, side: int
) -> None:
    """Train on images of `side` pixels; write the image tokenizer, and a checkpoint if `init` is one."""
    examples = read_examples(run.data, Needs.IMAGES)
    goes_on = isinstance(init, Path)
    tokenizer = (
        load_image_tokenizer(init) if isinstance(init, Path) else fresh_image_tokenizer(init, run.seed)
    )
    if goes_on and not has_nearest_projection(tokenizer):
        raise ValueError(
            f"{init}: this image tokenizer does not choose the nearest code vector. "
            "Only an image tokenizer of `rudolph train` can be fine-tuned."
        )
    identity = {
        **asdict(settings),
        "start": hash_weights(tokenizer),
        "data": digest_of(examples),
        "batch": run.batch,
        "seed": run.seed,
        "side": side,
    }
    for parameter in tokenizer.parameters():
        parameter.data = parameter.data.to(run.device).contiguous()
    tokenizer.requires_grad_(True)

    def batches(step: int, stream: str) -> ImageBatch:
        chosen = epoch_batch(run.seed, step, run.batch, len(examples), stream)
        pixels = load_pixels([examples[index] for index in chosen], side)
        moved = augment_images(pixels, GENTLE, step_generator(run.seed, step, stream))
        return ImageBatch(moved.to(run.device))

    with lock_folder(run.work):
        trainer = ImageTokenizerTrainer(tokenizer, batches, settings, resume_codebook=goes_on)
        if run_loop(trainer, run.work, run.loop, identity):
            finished = trainer.finish().cpu()
            save_image_tokenizer(finished, run.output)
            if isinstance(init, Path) and (init / VOCABULARY_FILE).is_file():
                start = from_checkpoint(init, None)
                save_checkpoint(
                    run.output,
                    transformer=start.transformer,
                    image_tokenizer=finished,
                    vocabulary=start.vocabulary,
                    name=start.name,
                    tasks=start.tasks,
                    dtype=torch.float16,
                )
                write_generation_config(run.output, init, {})
                details = {"image tokenizer": asdict(settings)}
                write_model_card(run.output, f"{len(examples)} images of {run.data.name}", details)


def digest_of(examples: Sequence[Example]) -> str:
    """Return a hash of the bytes of all images."""
    content = hashlib.sha256()
    for example in examples:
        content.update(hashlib.sha256(example.read()).digest())
    return content.hexdigest()[:32]
