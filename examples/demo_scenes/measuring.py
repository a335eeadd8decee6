"""Measures a served checkpoint, and writes the figures.

`make demo-scenes-quality` prints the table, and writes the figures as JSON and a contact sheet.
"""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from dataclasses import asdict
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


async def measure(quality: SceneQuality, calibrations: Mapping[str, Calibration]) -> list[Measure]:
    """Run all measurements, and print each result."""
    measures: list[Measure] = []

    async def ready(value: float) -> float:
        return value

    async def add(
        name: str,
        value: Awaitable[float],
        count: int,
        targets: tuple[float, float] | None = None,
        unit: str = "%",
    ) -> float:
        must, aim = targets or (None, None)
        measures.append(Measure(name, round(await value, 2), unit, count, must, aim))
        print_line(measures[-1])
        return measures[-1].value

    names = quality.names()
    for title, candidates, targets in (("n = 1", 1, (93, 98)), ("best of 8", CANDIDATES, (97, 99))):
        name = f"right thing, {title}"
        await add(name, quality.drawing(name, names, candidates), len(names), targets)
    await add("styles among 8 candidates", quality.variety(), len(names), (3, 4), "styles")
    word = invented_word(step_generator(MEASURE_SEED, 0, "unknown"))
    name = f"right thing after an unknown word («{word}»)"
    await add(name, quality.drawing(name, names, word=word), len(names))
    goals: dict[Level, tuple[float, float]] = {
        "colour": (75, 90),
        "pair": (50, 80),
        "place": (80, 95),
        "number": (80, 95),
    }
    for level in KINDS:
        for seen in (True, False):
            scenes = quality.scenes(level, seen=seen)
            name = f"{level}, {'compositions of the training data' if seen else 'new compositions'}"
            await add(name, quality.drawing(name, scenes), len(scenes), None if seen else goals.get(level))
    pairs = quality.scenes("pair", seen=False)
    name = "pair, new compositions, best of 8"
    best = await add(name, quality.drawing(name, pairs, CANDIDATES), len(pairs))
    alone = next(measure.value for measure in measures if measure.name == "pair, new compositions")

    await add("gain of best of 8 on new pairs", ready(best - alone), len(pairs), (10, 15), "points")
    name = "caption names the thing, best of 8"
    await add(name, quality.captions(name), len(names), (88, 95))
    for num_classes, targets in ((20, (96, 99)), (200, (85, 93))):
        name = f"classification among {num_classes}"
        await add(name, quality.classification(name, num_classes), len(names), targets)
    name = "right image first of 10 in a ranking"
    await add(name, quality.ranking(name), len(names), (93, 98))
    for task, calibration in calibrations.items():
        for title, gap in (
            ("at temperature 1", calibration.gap_before),
            ("calibrated", calibration.gap_after),
        ):
            name = f"probability of the choice against the share of right ones, {task}, {title}"
            await add(name, ready(gap), calibration.count, unit="points")
    examples = example_scenes(quality.cast.things)
    name = "prompts of the playground"
    await add(name, quality.drawing(name, examples), len(examples), (100, 100))
    return measures


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
