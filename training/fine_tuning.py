"""Training on a user's own pictures: the image tokenizer or the transformer, from a checkpoint or afresh.

Knows folders and settings; steps and losses are the trainers'.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoint import save_checkpoint
from model.config import VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.transformer import Transformer
from training.augment import AugmentStrength, augment_pictures
from training.data import Example, load_pixels, read_examples
from training.image_tokenizer_trainer import (
    ImageTokenizerTrainer,
    PictureBatch,
    TokenizerTraining,
    has_nearest_projection,
)
from training.loop import LoopSettings, run_loop
from training.model_card import write_model_card
from training.samples import draw_prompts
from training.sequences import LossWeights, RowBuilder, Rows
from training.starts import (
    VOCABULARY_FILE,
    Start,
    fresh_image_tokenizer,
    from_checkpoint,
    load_image_tokenizer,
    save_image_tokenizer,
)
from training.state import epoch_batch, load_state, save_state, step_generator
from training.transformer_trainer import TransformerTrainer, TransformerTraining

CPU = torch.device("cpu")
PUBLISHED_WEIGHTS = LossWeights()
GENTLE = AugmentStrength(shift=0.02, scale=0.05, brightness=0.05)


@dataclass(frozen=True)
class RunSettings:
    """What both kinds of training share."""

    data: Path
    output: Path
    """Receives the checkpoint; the run's state, logs and sheets stand in its folder `training`."""
    loop: LoopSettings
    batch: int = 16
    seed: int = 0
    device: torch.device = CPU
    weights: LossWeights = PUBLISHED_WEIGHTS
    unprompted_share: float = 0.1
    """Share of pictures that are also shown without a prompt, for guidance."""
    accumulate: int = 1
    """Parts that a batch is run in, to save memory."""
    views: int = 1
    """Encodings of each picture: the picture itself, and slightly moved ones."""

    @property
    def work(self) -> Path:
        return self.output / "training"


def train_image_tokenizer(
    run: RunSettings, settings: TokenizerTraining, init: Path | VqganConfig, side: int
) -> None:
    """Train on pictures of `side` pixels; writes it, and a checkpoint where `init` is one."""
    examples = read_examples(run.data)
    goes_on = isinstance(init, Path)
    tokenizer = (
        load_image_tokenizer(init) if isinstance(init, Path) else fresh_image_tokenizer(init, run.seed)
    )
    if goes_on and not has_nearest_projection(tokenizer):
        raise ValueError(
            f"{init}: the image tokenizer does not pick the nearest code vector, so only one that "
            "`rudolph train` made can be trained on"
        )
    for parameter in tokenizer.parameters():
        parameter.data = parameter.data.to(run.device).contiguous()
    tokenizer.requires_grad_(True)

    def batches(step: int, stream: str) -> PictureBatch:
        chosen = epoch_batch(run.seed, step, run.batch, len(examples), stream)
        pixels = load_pixels([examples[index] for index in chosen], side)
        moved = augment_pictures(pixels, GENTLE, step_generator(run.seed, step, stream))
        return PictureBatch(moved.to(run.device))

    trainer = ImageTokenizerTrainer(tokenizer, batches, settings, resume_codebook=goes_on)
    fingerprint = {**asdict(settings), "data": _fingerprint(examples), "seed": run.seed, "side": side}
    if run_loop(trainer, run.work, run.loop, fingerprint):
        finished = trainer.finish().cpu()
        save_image_tokenizer(finished, run.output)
        if isinstance(init, Path) and (init / VOCABULARY_FILE).is_file():
            start = from_checkpoint(init, None)
            details = {"image tokenizer": asdict(settings)}
            _save(run, start.transformer, finished, start.vocabulary, examples, details=details)


def train_transformer(run: RunSettings, settings: TransformerTraining, start: Start) -> None:
    """Train in both directions and write a checkpoint folder."""
    examples = read_examples(run.data)
    transformer = start.transformer.requires_grad_(True).to(run.device)
    codes = _encode(examples, start, run)
    builder = RowBuilder(transformer.config, start.text_tokenizer)
    rows = _Rows([example.text for example in examples], codes, builder, run)

    def draw(path: Path) -> None:
        draw_prompts(path, transformer, start.image_tokenizer, builder, [e.text for e in examples[:8]])

    trainer = TransformerTrainer(transformer, rows, settings, draw=draw)
    fingerprint = {**asdict(settings), "data": _fingerprint(examples), "seed": run.seed, "batch": run.batch}
    fingerprint |= {"frozen": sorted(settings.frozen), "start": start.identity}
    if run_loop(trainer, run.work, run.loop, fingerprint):
        details = {"transformer": asdict(settings)}
        _save(run, transformer.cpu(), start.image_tokenizer, start.vocabulary, examples, details=details)


class _Rows:
    """Batches of both directions, a function of (seed, step)."""

    def __init__(self, texts: Sequence[str], codes: Tensor, builder: RowBuilder, run: RunSettings) -> None:
        self._texts, self._codes, self._builder, self._run = texts, codes, builder, run

    def __call__(self, step: int) -> list[Rows]:
        run = self._run
        half = max(1, run.batch // 2)
        rows: list[Rows] = []
        for stream in ("draw", "name"):
            chosen = epoch_batch(run.seed, step, half, len(self._texts), stream)
            random = step_generator(run.seed, step, stream)
            views = torch.randint(self._codes.shape[1], (half,), generator=random)
            size = -(-half // run.accumulate)
            for start in range(0, half, size):
                part = chosen[start : start + size]
                texts = [self._texts[index] for index in part]
                codes = self._codes[part, views[start : start + size]].long()
                build = self._builder.text_to_image if stream == "draw" else self._builder.image_to_text
                rows.append(build(texts, codes, run.weights))
        num_unprompted = round(run.unprompted_share * half)
        if num_unprompted:
            chosen = epoch_batch(run.seed, step, num_unprompted, len(self._texts), "unprompted")
            rows.append(self._builder.unprompted(self._codes[chosen, 0].long(), run.weights))
        return rows


def _encode(examples: Sequence[Example], start: Start, run: RunSettings) -> Tensor:
    """Codes of every picture and its moved views, shape = (examples, views, cells); encoded once."""
    path = run.work / "codes.pt"
    identity = [_fingerprint(examples), start.identity, run.views, run.seed]
    saved = load_state(path)
    if saved is not None and saved["identity"] == identity:
        return saved["codes"]
    tokenizer = start.image_tokenizer.to(run.device)
    side = start.transformer.config.image_width * tokenizer.config.downsampling
    batches: list[Tensor] = []
    for begin in range(0, len(examples), run.batch):
        pixels = load_pixels(examples[begin : begin + run.batch], side)
        views = [pixels]
        random = step_generator(run.seed, begin, "views")
        views += [augment_pictures(pixels, GENTLE, random) for _ in range(run.views - 1)]
        encoded = [tokenizer.encode(view.to(run.device)).short().cpu() for view in views]
        batches.append(torch.stack(encoded, dim=1))
    codes = torch.cat(batches)
    save_state(path, {"identity": identity, "codes": codes})
    return codes


def _save(
    run: RunSettings,
    transformer: Transformer,
    image_tokenizer: ImageTokenizer,
    vocabulary: Path,
    examples: Sequence[Example],
    *,
    details: dict[str, Any],
) -> None:
    save_checkpoint(
        run.output,
        transformer=transformer,
        image_tokenizer=image_tokenizer,
        vocabulary=vocabulary,
        dtype=torch.float16,
    )
    write_model_card(run.output, f"{len(examples)} pictures with texts of {run.data.name}", details)


def _fingerprint(examples: Sequence[Example]) -> list[Any]:
    return [len(examples), examples[0].text, examples[-1].text]
