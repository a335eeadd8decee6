"""Checks a data set before training: every fault at once, and what the model will see."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from model.config import ModelConfig
from model.text_tokenizer import TextTokenizer
from training.corpus import TextStudy, regions_of, seen_text, study_texts
from training.data import DataError, Example, Fault, read_data
from training.sheets import save_sheet
from training.tasks import NEEDS, TaskData

SHOWN_PLACES = 3
SHOWN_EXAMPLES = 5
SHEET_IMAGES = 24
SHEET_COLUMNS = 8
THREADS = 4


@dataclass
class DataReport:
    """What was found in a data set."""

    examples: list[Example]
    faults: list[Fault]
    """Rows that cannot be used."""
    notes: list[str]
    broken: list[Fault] = field(default_factory=list[Fault])
    """Images that cannot be decoded."""
    images: int = 0
    """Examples with an image."""
    studies: dict[str, TextStudy] = field(default_factory=dict[str, TextStudy])
    seen: list[str] = field(default_factory=list[str])
    """Texts, and how the model sees them."""

    @property
    def is_clean(self) -> bool:
        return bool(self.examples) and not self.faults and not self.broken

    def lines(self) -> Iterator[str]:
        """Yield the report, faults of one kind together with their number."""
        splits = Counter(example.split for example in self.examples)
        parts = ", ".join(f"{count} {split}" for split, count in splits.items())
        yield f"{len(self.examples)} examples ({parts or 'none'}), {self.images} with an image"
        yield from self.notes
        for title, faults in (("rows", self.faults), ("images", self.broken)):
            if faults:
                yield f"{len(faults)} {title} cannot be used:"
            for message, places in _grouped(faults):
                more = f" … {len(places) - SHOWN_PLACES} more" if len(places) > SHOWN_PLACES else ""
                yield f"  {len(places)} × {message}: {', '.join(places[:SHOWN_PLACES])}{more}"
        for title, study in self.studies.items():
            yield from study.lines(title)
        if self.seen:
            yield "The model sees:"
        yield from (f"  {line}" for line in self.seen)
        duplicates = len(self.examples) - len({(e.question, e.text, e.image) for e in self.examples})
        if duplicates:
            yield f"{duplicates} examples are duplicates of others"


def check_data(
    task: TaskData, tokenizer: TextTokenizer, config: ModelConfig, side: int, sheet: Path | None = None
) -> DataReport:
    """Read every row and decode every image. Raises DataError for an unknown format.

    side: side of the images of the sheet in pixels. sheet: path of a PNG with the first images.
    """
    examples, reading = read_data(task.data, NEEDS[task.task], task.columns)
    report = DataReport(examples, reading.faults, reading.notes)
    report.images = sum(example.image is not None for example in examples)
    pixels: list[torch.Tensor] = []
    with ThreadPoolExecutor(THREADS) as pool:
        with_image = [example for example in examples if example.image is not None]
        for found in pool.map(partial(_decode, side=side), with_image):
            if isinstance(found, Fault):
                report.broken.append(found)
            elif len(pixels) < SHEET_IMAGES:
                pixels.append(found)
    for title, region in regions_of(task.task).items():
        texts = [(e.place, e.question if title == "questions" else e.text) for e in examples]
        study = study_texts(texts, tokenizer, config, region)
        report.studies[title] = study
        report.seen += _seen([text for _, text in texts], tokenizer, study.room)
    if sheet is not None and pixels:
        save_sheet(sheet, torch.stack(pixels), min(SHEET_COLUMNS, len(pixels)))
    return report


def _decode(example: Example, side: int) -> torch.Tensor | Fault:
    try:
        return example.pixels(side)
    except DataError as error:
        return Fault(example.place, str(error).removeprefix(f"{example.place}: "))


def _seen(texts: Sequence[str], tokenizer: TextTokenizer, room: int) -> list[str]:
    """Return the first texts that change, then others, as the model sees them."""
    pairs = [(text, seen_text(text, tokenizer, room)) for text in dict.fromkeys(texts)]
    chosen = sorted(pairs, key=lambda pair: pair[0].lower() == pair[1])[:SHOWN_EXAMPLES]
    return [f"«{text}» as «{seen}»" if text != seen else f"«{text}»" for text, seen in chosen]


def _grouped(faults: Sequence[Fault]) -> list[tuple[str, list[str]]]:
    """Return faults by their message without names and numbers, the most frequent first."""
    groups: dict[str, tuple[str, list[str]]] = {}
    for fault in faults:
        kind = re.sub(r"\S*[\d/.]\S*|«[^»]*»", "", fault.message)
        groups.setdefault(kind, (fault.message, []))[1].append(fault.place)
    return sorted(groups.values(), key=lambda group: -len(group[1]))
