"""`make bench`: the time of each task on this processor, ours and the published package's, in one run.

Ours includes the image tokenizer and the image file; the package's figures leave both out. Each run of ours
has a new prompt and image, because the engine caches those of earlier runs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import torch

from bench import results
from bench.baseline import PACKAGE_BATCH, BothSides, JobTiming, both_sides
from bench.results import Sample
from bench.weights import PROMPT, image, words
from jobs.contract.requests import (
    ClassifyRequest,
    Codes,
    Image2TextRequest,
    RankImagesRequest,
    Task,
    Text2ImageRequest,
)
from model.backends.precision import choose_dtype
from model.backends.x86 import is_available
from model.backends.x86.linear import Arithmetic, fastest_arithmetic
from model.config import PRESETS, ModelConfig, VqganConfig
from workers.engine.settings import EngineSettings

QUICK = ModelConfig(3, 64, 4, 16, 4, 24, 3, 5, text_special_tokens=384, image_special_tokens=8)
QUICK_VQGAN = VqganConfig(8192, 32, 32, 32, 32, (1, 1, 1, 2), 1, (4,))
NUM_SLOTS = 16
TEMPLATE = "на картинке"
LONE_CAPTION = "image2text, 1 of one picture"
SHORT_CAPTION = 16
"""Tokens of a usual caption; random weights do not end a text."""
NO_REPEAT_OVER_S = 3.0
"""Longer runs of ours are not repeated, so that slow machines finish in a quarter of an hour."""

PACKED_WEIGHT_BITS = 12
"""Bits of a weight in memory, on processors that multiply bfloat16."""
WEIGHTS_A_LAYER = 12
"""In squares of the hidden size: 3 for query, key, value, 1 after attention, 2 × 4 in the MLP."""


@dataclass
class Row:
    """A task to time on both sides, and its samples."""

    name: str
    unit: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any] | None
    units: int = 1
    their_units: int = 1
    tokens: int | None = None
    """Tokens drawn for each unit."""
    their_samples_of: str | None = None
    """The row whose samples of the package count for this one too."""
    int8: bool = False
    """Whether ours runs int8 layers."""
    our_samples: list[Sample] = field(default_factory=list[Sample])
    their_samples: list[Sample] = field(default_factory=list[Sample])
    peak_bytes: int = 0
    """Memory of our run beyond that before it."""
    timing: JobTiming = field(default_factory=JobTiming)


def measure(
    *, quick: bool, dtype_name: str, int8: bool, repeats: int, only: str = ""
) -> Iterator[dict[str, Any]]:
    """Measure the rows whose names contain `only`; yield the result document after each row.

    quick: a toy shape, to check that everything runs. int8: run ours with int8 layers.
    """
    config, vqgan = (QUICK, QUICK_VQGAN) if quick else (PRESETS["350M-v2"].config, VqganConfig())
    dtype = choose_dtype(torch.device("cpu"), dtype_name)
    format_name = str(dtype).removeprefix("torch.") + (", int8 layers" if int8 else "")
    content = results.document(dtype=format_name, shape="toy" if quick else "350M")
    settings = EngineSettings(NUM_SLOTS, weight_format="int8" if int8 else "auto")
    with both_sides(config, vqgan, dtype, settings) as both:
        sizes = {"ours": both.our_bytes, "package": both.their_bytes}
        content |= {
            "weights_and_slots_bytes": sizes,
            "memory_bytes_per_s": results.memory_speed(),
            "caption_weights_bytes": both.caption_tokens(TEMPLATE)
            * _bytes_a_text_token(config, dtype, int8=int8),
            "rows": [],
        }
        measured: dict[str, Row] = {}
        for row in _rows(both, int8=int8):
            if only not in row.name:
                continue
            try:
                both.use(int8=row.int8)
            except RuntimeError as error:
                print(f"  {row.name:<30} left out: {error}")
                continue
            _measure_row(row, both, repeats, measured)
            measured[row.name] = row
            content["rows"].append(_row_json(row))
            print(f"  {_line(row)}", flush=True)
            yield content


def _bytes_a_text_token(config: ModelConfig, dtype: torch.dtype, *, int8: bool) -> int:
    """Bytes of weights that a step with one text token reads; the heads are never int8."""
    is_packed = dtype is torch.bfloat16 and is_available()
    bits = (
        PACKED_WEIGHT_BITS
        if is_packed and fastest_arithmetic() is Arithmetic.BF16_DOT
        else 8 * dtype.itemsize
    )
    layers = config.num_layers * WEIGHTS_A_LAYER * config.hidden_size**2
    return (layers * (8 if int8 else bits) + config.text_vocab_size * config.hidden_size * bits) // 8


def _measure_row(row: Row, both: BothSides, repeats: int, measured: dict[str, Row]) -> None:
    results.reset_peak()
    before = results.resident_bytes()
    row.our_samples = results.timed(row.ours, repeats, row.units, no_repeat_over_s=NO_REPEAT_OVER_S)
    row.peak_bytes = max(0, results.peak_bytes() - before)
    row.timing = both.timing
    if row.theirs is not None:
        row.their_samples = results.timed(row.theirs, 1, row.their_units, warm_up=False)
    elif row.their_samples_of in measured:
        row.their_samples = measured[row.their_samples_of].their_samples


def _rows(both: BothSides, *, int8: bool) -> list[Row]:
    rows = [replace(row, int8=int8) for row in _rows_of_tasks(both)]
    if not int8:
        lone = next(row for row in rows if row.name == LONE_CAPTION)
        name = f"{LONE_CAPTION}, int8 layers"
        rows.append(replace(lone, name=name, theirs=None, their_samples_of=LONE_CAPTION, int8=True))
    return rows


def _rows_of_tasks(both: BothSides) -> Iterator[Row]:
    prompts = (f"{PROMPT} {word}" for word in words(100))
    files = (image(both.rudolph.input_side, number)[1] for number in count())
    for candidates in (1, 4, 16):
        yield _image_row(both, prompts, candidates)
    for candidates in (1, 16):
        yield _caption_row(both, files, candidates)
    yield _caption_row(both, files, 1, SHORT_CAPTION)
    for num_classes in (10, 100):
        yield _classify_row(both, files, num_classes)
    yield _rank_row(both, prompts)


def _image_row(both: BothSides, prompts: Iterator[str], candidates: int) -> Row:
    batch = min(candidates, PACKAGE_BATCH)

    def ours() -> Any:
        request = Text2ImageRequest(next(prompts), seed=1, n=candidates, candidates=candidates)
        return both.run(Task.TEXT2IMAGE, request)

    return Row(
        f"text2image, n = {candidates}",
        "picture",
        ours,
        None if candidates > batch else lambda: both.api.generate_codebooks(PROMPT, batch, seed=1),
        units=candidates,
        their_units=batch,
        tokens=both.config.image_length,
        their_samples_of=f"text2image, n = {PACKAGE_BATCH}",
    )


def _caption_row(both: BothSides, files: Iterator[bytes], candidates: int, length: int | None = None) -> Row:
    """Captions that end after `length` tokens with the template's, or at the end of the right text.

    The package always draws to the end of the right text, and looks for the end of the caption afterwards.
    """
    shown, _ = image(both.rudolph.input_side, 0)
    batch = min(candidates, PACKAGE_BATCH)

    def ours() -> Any:
        request = Image2TextRequest(
            next(files), seed=1, n=candidates, candidates=candidates, template=TEMPLATE, max_tokens=length
        )
        return both.run(Task.IMAGE2TEXT, request)

    return Row(
        f"image2text, {candidates} of one picture" + (f", {length} tokens" if length else ""),
        "caption",
        ours,
        None
        if length
        else lambda: both.api.generate_captions(shown, captions_num=batch, r_template=TEMPLATE, seed=1),
        units=candidates,
        their_units=batch,
        tokens=None if length else both.caption_tokens(TEMPLATE),
        their_samples_of=f"image2text, {candidates} of one picture",
    )


def _classify_row(both: BothSides, files: Iterator[bytes], num_classes: int) -> Row:
    shown, _ = image(both.rudolph.input_side, 0)
    classes = tuple(words(num_classes))
    template = f"{TEMPLATE} {{}}"
    return Row(
        f"classify, {num_classes} classes",
        "request",
        lambda: both.run(Task.CLASSIFY, ClassifyRequest(next(files), classes, template=template)),
        lambda: both.api.zs_clf(shown, list(classes), r_template=template, seed=1),
    )


def _rank_row(both: BothSides, prompts: Iterator[str]) -> Row:
    codes = both.codes.repeat(16, 1)
    codes[:, 0] = torch.arange(16)
    images = tuple(Codes(tuple(one)) for one in codes.tolist())
    return Row(
        "rank 16 pictures by a text",
        "request",
        lambda: both.run(Task.RANK_IMAGES, RankImagesRequest(next(prompts), images)),
        lambda: both.api.self_reranking_by_text(PROMPT, codes, seed=1),
    )


# Output --------------------------------------------------------------------------------


def _row_json(row: Row) -> dict[str, Any]:
    ours, theirs = results.median(row.our_samples), results.median(row.their_samples or row.our_samples)
    return {
        "name": row.name,
        "unit": row.unit,
        "ours_s": ours,
        "package_s": theirs if row.their_samples else None,
        "ratio": theirs / ours if row.their_samples else None,
        "ours_tokens_per_s": row.tokens / ours if row.tokens else None,
        "package_tokens_per_s": row.tokens / theirs if row.tokens and row.their_samples else None,
        "peak_bytes": row.peak_bytes,
        "phases_s": {phase: round(spent, 4) for phase, spent in row.timing.seconds.items()},
        "decode_steps": row.timing.steps,
        "disturbed": results.is_disturbed(row.our_samples)
        or (bool(row.their_samples) and results.is_disturbed(row.their_samples)),
        "ours": results.summary(row.our_samples),
        "package": results.summary(row.their_samples),
    }


def _line(row: Row) -> str:
    ours = results.median(row.our_samples)
    theirs = f"{results.median(row.their_samples):9.3f} s" if row.their_samples else " " * 11
    return f"{row.name:<30} {ours:9.3f} s {theirs}"
