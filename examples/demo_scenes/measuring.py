"""Measures a served checkpoint, and writes the figures.

`make demo-scenes-quality` prints the table, and writes the figures as JSON and a contact sheet.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from examples.demo_checkpoint.card import FIGURES_FILE
from examples.demo_checkpoint.quality import MEASURE_SEED, Measure, print_line, print_table
from examples.demo_scenes.calibration import Calibration, calibrate
from examples.demo_scenes.card import FAILURES_FILE
from examples.demo_scenes.drawing import Cast
from examples.demo_scenes.generation import example_scenes
from examples.demo_scenes.phrases import invented_word
from examples.demo_scenes.quality import KINDS, SceneQuality
from examples.demo_scenes.scenes import Level
from examples.demo_scenes.server import CANDIDATES, SceneServer
from model.files.checkpoint import load_rudolph
from training.state import replace_file, step_generator

TEMPERATURES_FILE = "temperatures.json"
GOALS: dict[Level, tuple[float, float]] = {
    "colour": (75, 90),
    "pair": (50, 80),
    "place": (80, 95),
    "number": (80, 95),
}
"""The required share and the goal for new compositions, in per cent."""


@dataclass
class Measures:
    """The rows so far; each is printed when it is known."""

    rows: list[Measure] = field(default_factory=list[Measure])

    def add(
        self,
        name: str,
        value: float,
        count: int,
        targets: tuple[float, float] | None = None,
        unit: str = "%",
    ) -> None:
        """Add a row. targets: the required value and the goal."""
        must, aim = targets or (None, None)
        self.rows.append(Measure(name, round(value, 2), unit, count, must, aim))
        print_line(self.rows[-1])


async def measure(quality: SceneQuality, calibrations: Mapping[str, Calibration]) -> list[Measure]:
    """Run all measurements, and print each result."""
    measures = Measures()
    await _names(quality, measures)
    await _compositions(quality, measures)
    await _reading(quality, measures)
    for task, calibration in calibrations.items():
        gaps = (("at temperature 1", calibration.gap_before), ("calibrated", calibration.gap_after))
        for title, gap in gaps:
            name = f"probability of the choice against the share of right ones, {task}, {title}"
            measures.add(name, gap, calibration.count, unit="points")
    name, examples = "prompts of the playground", example_scenes(quality.cast.things)
    measures.add(name, await quality.drawing(name, examples), len(examples), (100, 100))
    return measures.rows


async def _names(quality: SceneQuality, measures: Measures) -> None:
    """Measure images of single things."""
    names = quality.names()
    for title, candidates, targets in (("n = 1", 1, (93, 98)), ("best of 8", CANDIDATES, (97, 99))):
        name = f"right thing, {title}"
        measures.add(name, await quality.drawing(name, names, candidates), len(names), targets)
    measures.add("styles among 8 candidates", await quality.variety(), len(names), (3, 4), "styles")
    word = invented_word(step_generator(MEASURE_SEED, 0, "unknown"))
    name = f"right thing after an unknown word («{word}»)"
    measures.add(name, await quality.drawing(name, names, word=word), len(names))


async def _compositions(quality: SceneQuality, measures: Measures) -> None:
    """Measure images of compositions, of the training data and new ones."""
    alone: dict[Level, float] = {}
    for level in KINDS:
        for seen in (True, False):
            scenes = quality.scenes(level, seen=seen)
            name = f"{level}, {'compositions of the training data' if seen else 'new compositions'}"
            alone[level] = await quality.drawing(name, scenes)
            measures.add(name, alone[level], len(scenes), None if seen else GOALS.get(level))
    name, pairs = "pair, new compositions, best of 8", quality.scenes("pair", seen=False)
    best = await quality.drawing(name, pairs, CANDIDATES)
    measures.add(name, best, len(pairs))
    measures.add("gain of best of 8 on new pairs", best - alone["pair"], len(pairs), (10, 15), "points")


async def _reading(quality: SceneQuality, measures: Measures) -> None:
    """Measure captions, classification and ranking of images."""
    count = len(quality.chosen_things())
    name = "caption names the thing, best of 8"
    measures.add(name, await quality.captions(name), count, (88, 95))
    for num_classes, targets in ((20, (96, 99)), (200, (85, 93))):
        name = f"classification among {num_classes}"
        measures.add(name, await quality.classification(name, num_classes), count, targets)
    name = "right image first of 10 in a ranking"
    measures.add(name, await quality.ranking(name), count, (93, 98))


async def run_async(
    url: str, cast: Cast, side: int, folder: Path, *, sample: int, concurrency: int
) -> list[Measure]:
    """Measure the server at `url`; write the figures, the failures and the contact sheet to `folder`."""
    async with httpx.AsyncClient(base_url=url, timeout=600.0) as client:
        quality = SceneQuality(SceneServer(client), cast, side, min(sample, len(cast.things)), concurrency)
        calibrations = await calibrate(quality)
        measures = await measure(quality, calibrations)
        await quality.sheet(folder / "contact-sheet.png")
    figures = [asdict(line) for line in measures]
    temperatures = {task: calibration.temperature for task, calibration in calibrations.items()}
    for name, document in (
        (FIGURES_FILE, figures),
        (FAILURES_FILE, quality.failures),
        (TEMPERATURES_FILE, temperatures),
    ):
        with replace_file(folder / name) as temporary:
            temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return measures


def run(
    url: str, checkpoint: Path, folder: Path, cast: Cast, *, sample: int, concurrency: int
) -> list[Measure]:
    """Measure the server at `url`, which serves `checkpoint`, and print the table."""
    side = load_rudolph(checkpoint).output_side
    measured = asyncio.run(run_async(url, cast, side, folder, sample=sample, concurrency=concurrency))
    print_table(measured)
    return measured
