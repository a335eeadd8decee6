"""`make bench`: each task on this processor, ours beside the published package, in one run.

Ours includes the image tokenizer and the picture file; the package's figures leave both out. Every run of
ours has a prompt and a picture of its own, for the engine still remembers those of the last one. Knows which
tasks are compared and what was promised of them; how both sides are driven is in `bench.peers`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import torch

from bench import results
from bench.peers import PROMPT, REFERENCE_BATCH, Peers, Spent, peers, picture, words
from bench.results import Sample
from jobs.job import Task
from jobs.requests import ClassifyRequest, Codes, Image2TextRequest, RankImagesRequest, Text2ImageRequest
from model.config import PRESETS, ModelConfig, VqganConfig
from model.kernels.x86 import is_available
from model.kernels.x86.linear import Arithmetic, fastest_arithmetic
from model.precision import choose_dtype
from workers.engine.settings import EngineSettings

QUICK = ModelConfig(3, 64, 4, 16, 4, 24, 3, 5, text_special_tokens=384, image_special_tokens=8)
QUICK_VQGAN = VqganConfig(8192, 32, 32, 32, 32, (1, 1, 1, 2), 1, (4,))
NUM_SLOTS = 16
TEMPLATE = "на картинке"
LONE_CAPTION = "image2text, 1 of one picture"
SHORT_CAPTION = 16
"""Tokens of a usual caption. Random weights never end a text by themselves."""
PATIENCE_S = 3.0
"""Runs of ours that take longer are not repeated: all must fit into a quarter of an hour on slow machines."""

BITS_IN_PAIRS = 12
"""Of a weight in memory, where the processor multiplies bfloat16 itself."""
WEIGHTS_A_LAYER = 12
"""In squares of the hidden size: 3 for query, key, value, 1 behind attention, 2 × 4 in the MLP."""


@dataclass
class Row:
    """One measure: seconds a unit, ours and the package's."""

    name: str
    unit: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any] | None
    units: int = 1
    their_units: int = 1
    tokens: int | None = None
    """Drawn for each unit."""
    must: float | None = None
    aim: float | None = None
    their_samples_of: str | None = None
    """The row that measures the package for this one too."""
    int8: bool = False
    """With our layers in whole numbers."""
    our_samples: list[Sample] = field(default_factory=list[Sample])
    their_samples: list[Sample] = field(default_factory=list[Sample])
    peak_bytes: int = 0
    """Memory that our run took beyond what was there before."""
    spent: Spent = field(default_factory=Spent)


def measure(
    *, quick: bool, dtype_name: str, int8: bool, repeats: int, only: str = ""
) -> Iterator[dict[str, Any]]:
    """The rows whose names hold `only`, as a result document that grows by a row at a time.

    `quick`: a toy shape, to see that all runs. `int8`: our layers in whole numbers.
    """
    config, vqgan = (QUICK, QUICK_VQGAN) if quick else (PRESETS["350M-v2"].config, VqganConfig())
    dtype = choose_dtype(torch.device("cpu"), dtype_name)
    format_name = str(dtype).removeprefix("torch.") + (", int8 layers" if int8 else "")
    content = results.document(dtype=format_name, shape="toy" if quick else "350M")
    with peers(config, vqgan, dtype, EngineSettings(NUM_SLOTS, int8_weights=int8)) as both:
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
    """Weights that a step with one text token reads, heads never in whole numbers."""
    is_packed = dtype is torch.bfloat16 and is_available()
    bits = BITS_IN_PAIRS if is_packed and fastest_arithmetic() is Arithmetic.PAIRS else 8 * dtype.itemsize
    layers = config.num_layers * WEIGHTS_A_LAYER * config.hidden_size**2
    return (layers * (8 if int8 else bits) + config.text_vocab_size * config.hidden_size * bits) // 8


def _measure_row(row: Row, both: Peers, repeats: int, measured: dict[str, Row]) -> None:
    results.forget_peak()
    before = results.resident_bytes()
    row.our_samples = results.timed(row.ours, repeats, row.units, patience_s=PATIENCE_S)
    row.peak_bytes = max(0, results.peak_bytes() - before)
    row.spent = both.spent
    if row.theirs is not None:
        row.their_samples = results.timed(row.theirs, 1, row.their_units, warm_up=False)
    elif row.their_samples_of in measured:
        row.their_samples = measured[row.their_samples_of].their_samples


def _rows(both: Peers, *, int8: bool) -> list[Row]:
    rows = [replace(row, int8=int8) for row in _rows_of_tasks(both)]
    if not int8:
        lone = next(row for row in rows if row.name == LONE_CAPTION)
        name = f"{LONE_CAPTION}, int8 layers"
        rows.append(replace(lone, name=name, theirs=None, their_samples_of=LONE_CAPTION, int8=True))
    return rows


def _rows_of_tasks(both: Peers) -> Iterator[Row]:
    prompts = (f"{PROMPT} {word}" for word in words(100))
    files = (picture(both.rudolph.input_side, number)[1] for number in count())
    for candidates in (1, 4, 16):
        yield _image_row(both, prompts, candidates)
    for candidates in (1, 16):
        yield _caption_row(both, files, candidates)
    yield _caption_row(both, files, 1, SHORT_CAPTION)
    for num_classes in (10, 100):
        yield _classify_row(both, files, num_classes)
    yield _rank_row(both, prompts)


def _image_row(both: Peers, prompts: Iterator[str], candidates: int) -> Row:
    batch = min(candidates, REFERENCE_BATCH)

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
        must={1: 7.0, 16: 25.0}.get(candidates),
        aim={1: 13.0, 16: 35.0}.get(candidates),
        their_samples_of=f"text2image, n = {REFERENCE_BATCH}",
    )


def _caption_row(both: Peers, files: Iterator[bytes], candidates: int, length: int | None = None) -> Row:
    """Captions that end after `length` tokens, the template's among them, or where the room ends.

    The package draws on to the end of the room in either case: it looks for the end of a text afterwards.
    """
    image, _ = picture(both.rudolph.input_side, 0)
    batch = min(candidates, REFERENCE_BATCH)

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
        else lambda: both.api.generate_captions(image, captions_num=batch, r_template=TEMPLATE, seed=1),
        units=candidates,
        their_units=batch,
        tokens=None if length else both.caption_tokens(TEMPLATE),
        must=15.0,
        aim=25.0,
        their_samples_of=f"image2text, {candidates} of one picture",
    )


def _classify_row(both: Peers, files: Iterator[bytes], num_classes: int) -> Row:
    image, _ = picture(both.rudolph.input_side, 0)
    classes = tuple(words(num_classes))
    template = f"{TEMPLATE} {{}}"
    return Row(
        f"classify, {num_classes} classes",
        "request",
        lambda: both.run(Task.CLASSIFY, ClassifyRequest(next(files), classes, template=template)),
        lambda: both.api.zs_clf(image, list(classes), r_template=template, seed=1),
        must=20.0 if num_classes == 100 else None,
        aim=40.0 if num_classes == 100 else None,
    )


def _rank_row(both: Peers, prompts: Iterator[str]) -> Row:
    codes = both.codes.repeat(16, 1)
    codes[:, 0] = torch.arange(16)
    pictures = tuple(Codes(tuple(one)) for one in codes.tolist())
    return Row(
        "rank 16 pictures by a text",
        "request",
        lambda: both.run(Task.RANK_IMAGES, RankImagesRequest(next(prompts), pictures)),
        lambda: both.api.self_reranking_by_text(PROMPT, codes, seed=1),
    )


# What is kept and shown --------------------------------------------------------------------------------


def _row_json(row: Row) -> dict[str, Any]:
    ours, theirs = results.median(row.our_samples), results.median(row.their_samples or row.our_samples)
    return {
        "name": row.name,
        "unit": row.unit,
        "ours_s": ours,
        "package_s": theirs if row.their_samples else None,
        "ratio": theirs / ours if row.their_samples else None,
        "must": row.must,
        "aim": row.aim,
        "ours_tokens_per_s": row.tokens / ours if row.tokens else None,
        "package_tokens_per_s": row.tokens / theirs if row.tokens and row.their_samples else None,
        "peak_bytes": row.peak_bytes,
        "phases_s": {phase: round(spent, 4) for phase, spent in row.spent.seconds.items()},
        "decode_steps": row.spent.steps,
        "disturbed": results.is_disturbed(row.our_samples)
        or (bool(row.their_samples) and results.is_disturbed(row.their_samples)),
        "ours": results.as_json(row.our_samples),
        "package": results.as_json(row.their_samples),
    }


def _line(row: Row) -> str:
    ours = results.median(row.our_samples)
    theirs = f"{results.median(row.their_samples):9.3f} s" if row.their_samples else " " * 11
    return f"{row.name:<30} {ours:9.3f} s {theirs}"
