"""Measures the quality of a served demo checkpoint over HTTP, with images and seeds not used in training.

`make demo-quality` prints the table, and writes the figures as JSON and a contact sheet.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from examples.demo_checkpoint.generation import CAPTIONS, DRAWING
from examples.demo_checkpoint.images import EmojiSet, load_emoji_set
from examples.demo_checkpoint.metrics import NearestPair, base64_png, pixels_of
from examples.demo_checkpoint.names import BACKGROUNDS, phrase
from model.files.checkpoint import load_rudolph
from training.augment import STRONG
from training.image_tokenizer_trainer import as_coded
from training.sheets import save_sheet
from training.state import replace_file, step_generator

MEASURE_SEED = 20_260_101
"""Different from all seeds of training."""
RETRIES = 5

Item = TypeVar("Item")


@dataclass(frozen=True)
class Measure:
    """One row of the table."""

    name: str
    value: float
    unit: str
    count: int
    """Number of samples."""
    must: float | None
    aim: float | None


class Server:
    """A client for the measured routes."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def draw(self, prompt: str, candidates: int, seed: int, **options: object) -> Tensor:
        """Return the best of `candidates` images, shape = (3, side, side), in [0, 1]."""
        body = {"prompt": prompt, "n": 1, "candidates": candidates, "seed": seed, **DRAWING, **options}
        return pixels_of((await self._post("/v1/text2image", body))["images"][0]["b64_json"])

    async def caption(self, image: Tensor, candidates: int, seed: int) -> str:
        body = {"image": base64_png(image), "n": 1, "candidates": candidates, "seed": seed, **CAPTIONS}
        return str((await self._post("/v1/image2text", body))["texts"][0]["text"])

    async def classify(self, image: Tensor, classes: Sequence[str]) -> int:
        body = {"image": base64_png(image), "classes": list(classes), "template": "{}"}
        return int((await self._post("/v1/classify", body))["label"])

    async def rank(self, text: str, images: Tensor) -> int:
        """Return the index of the best image."""
        body = {"text": text, "images": [base64_png(image) for image in images]}
        return int((await self._post("/v1/rank/images", body))["ranking"][0]["index"])

    async def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = await self._client.post(route, json=body)
        for _ in range(RETRIES):
            if reply.status_code not in (429, 503):
                break
            await asyncio.sleep(float(reply.headers.get("retry-after", "1")))
            reply = await self._client.post(route, json=body)
        if reply.status_code != 200:
            raise RuntimeError(f"{route} returned status {reply.status_code}: {reply.text[:300]}")
        return reply.json()


class Quality:
    """All measurements of one server."""

    def __init__(self, server: Server, emoji: EmojiSet, side: int, sample: int, concurrency: int) -> None:
        self._server, self._emoji, self._side = server, emoji, side
        self._gate = asyncio.Semaphore(concurrency)
        order = torch.randperm(len(emoji), generator=step_generator(MEASURE_SEED, 0)).tolist()
        self._chosen: list[int] = order[:sample]
        self._white = NearestPair(emoji, side, [0])
        self._all = NearestPair(emoji, side, range(len(BACKGROUNDS)))

    async def drawing(self, candidates: int, **options: object) -> float:
        """Return the share of names whose image is nearest to the right one among all emoji on white."""

        async def right(index: int) -> bool:
            name = self._emoji.emoji[index].name
            image = await self._server.draw(name, candidates, MEASURE_SEED + index, **options)
            return self._white.nearest(image)[0] == index

        return await self._share(self._chosen, right)

    async def captions(self) -> float:
        """Return the share of moved images on white whose best caption of eight is the name."""

        async def right(index: int) -> bool:
            caption = await self._server.caption(self._moved(index, 1), 8, MEASURE_SEED + index)
            return caption == self._emoji.emoji[index].name

        return await self._share(self._chosen, right)

    async def classification(self, num_classes: int) -> float:
        """Return the share of moved images on white whose class is chosen among `num_classes`."""

        async def right(index: int) -> bool:
            classes = self._with_others(index, num_classes, "classes")
            label = await self._server.classify(
                self._moved(index, 2), [self._emoji.emoji[c].name for c in classes]
            )
            return classes[label] == index

        return await self._share(self._chosen, right)

    async def ranking(self) -> float:
        """Return the share of names whose image ranks first among ten moved images on white."""

        async def right(index: int) -> bool:
            others = self._with_others(index, 10, "ranking")
            images = torch.stack([self._moved(other, 3) for other in others])
            return others[await self._server.rank(self._emoji.emoji[index].name, images)] == index

        return await self._share(self._chosen, right)

    async def composition(self, pairs: Sequence[tuple[int, int]], candidates: int) -> float:
        """Return the share of pairs whose image is nearest to the right emoji on the right colour."""

        async def right(pair: tuple[int, int]) -> bool:
            prompt = phrase(self._emoji.emoji[pair[0]].name, BACKGROUNDS[pair[1]])
            image = await self._server.draw(prompt, candidates, MEASURE_SEED + pair[0])
            return self._all.nearest(image) == pair

        return await self._share(pairs, right)

    async def sheet(self, path: Path) -> None:
        """Write a contact sheet: names on white, then held-out pairs."""
        pairs = [(index, 0) for index in self._chosen[:48]] + self.pairs(seen=False)[:48]

        async def drawn(pair: tuple[int, int]) -> Tensor:
            async with self._gate:
                prompt = phrase(self._emoji.emoji[pair[0]].name, BACKGROUNDS[pair[1]])
                return await self._server.draw(prompt, 4, MEASURE_SEED)

        save_sheet(path, torch.stack(await asyncio.gather(*map(drawn, pairs))), columns=16)

    def pairs(self, *, seen: bool) -> list[tuple[int, int]]:
        """Return a sample of coloured training pairs (`seen`) or held-out pairs."""
        pairs = (
            [pair for pair in self._emoji.training_pairs() if pair[1]]
            if seen
            else self._emoji.held_out_pairs()
        )
        order = torch.randperm(
            len(pairs), generator=step_generator(MEASURE_SEED, int(seen), "pairs")
        ).tolist()
        return [pairs[place] for place in order[: len(self._chosen)]]

    async def _share(self, items: Sequence[Item], right: Callable[[Item], Awaitable[bool]]) -> float:
        async def gated(item: Item) -> bool:
            async with self._gate:
                return await right(item)

        found = await asyncio.gather(*[gated(item) for item in items])
        return 100.0 * sum(found) / len(found)

    def _moved(self, index: int, kind: int) -> Tensor:
        """Return a new random view of an emoji."""
        random = step_generator(MEASURE_SEED, index, f"view {kind}")
        return self._emoji.draw([(index, 0)], self._side, STRONG, random)[0]

    def _with_others(self, index: int, count: int, stream: str) -> list[int]:
        random = step_generator(MEASURE_SEED, index, stream)
        others = [i for i in torch.randperm(len(self._emoji), generator=random).tolist() if i != index]
        place = int(torch.randint(count, (1,), generator=random))
        return [*others[: count - 1][:place], index, *others[: count - 1][place:]]


def reconstruction(checkpoint: Path, emoji: EmojiSet, side: int) -> float:
    """Return the mean PSNR in dB of moved images through the image tokenizer, not over HTTP."""
    tokenizer = load_rudolph(checkpoint).image_tokenizer
    errors: list[Tensor] = []
    for start in range(0, len(emoji), 64):
        pairs = [(index, index % len(BACKGROUNDS)) for index in range(start, min(start + 64, len(emoji)))]
        pixels = emoji.draw(pairs, side, STRONG, step_generator(MEASURE_SEED, start, "reconstruction"))
        drawn = tokenizer.decode(tokenizer.encode(as_coded(pixels, tokenizer.config)))
        errors.append((drawn - pixels).square().mean(dim=(1, 2, 3)))
    return float(-10 * torch.cat(errors).log10().mean())


async def measure(
    url: str, emoji: EmojiSet, side: int, *, sample: int, concurrency: int, checkpoint: Path, folder: Path
) -> list[Measure]:
    """Run all measurements, and print each result."""
    async with httpx.AsyncClient(base_url=url, timeout=600.0) as client:
        quality = Quality(Server(client), emoji, side, min(sample, len(emoji)), concurrency)
        seen, unseen = quality.pairs(seen=True), quality.pairs(seen=False)
        plan: list[tuple[str, Awaitable[float], float, float | None]] = [
            ("nearest image is the right one, n = 1", quality.drawing(1), 95, 99),
            ("nearest image is the right one, best of 4 by self-reranking", quality.drawing(4), 98, 100),
            ("exact caption, best of 8 by self-reranking", quality.captions(), 85, 95),
            ("classification among 20", quality.classification(20), 95, 99),
            ("classification among 200", quality.classification(200), 80, 92),
            ("right image first of 10 in a ranking", quality.ranking(), 95, 99),
            ("composition, pairs of the training data", quality.composition(seen, 1), 60, 90),
            ("composition, new pairs", quality.composition(unseen, 1), 60, 90),
            ("composition, new pairs, best of 4", quality.composition(unseen, 4), 60, 90),
        ]
        measures: list[Measure] = []
        for name, running, must, aim in plan:
            measures.append(Measure(name, round(await running, 1), "%", min(sample, len(emoji)), must, aim))
            print_line(measures[-1])
        decibels = round(reconstruction(checkpoint, emoji, side), 2)
        measures.append(Measure("reconstruction of shifted images", decibels, "dB", len(emoji), 24, 28))
        print_line(measures[-1])
        await quality.sheet(folder / "contact-sheet.png")
    with replace_file(folder / "quality.json") as temporary:
        temporary.write_text(json.dumps([asdict(m) for m in measures], indent=1) + "\n", encoding="utf-8")
    return measures


def print_line(line: Measure) -> None:
    Console(stderr=True).print(f"{line.name}: {line.value} {line.unit}")


def target(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value} {unit}"


def print_table(measures: Sequence[Measure]) -> None:
    """Print the table."""
    table = Table("measure", "must", "aim", "measured", "of")
    for line in measures:
        table.add_row(
            line.name,
            target(line.must, line.unit),
            target(line.aim, line.unit),
            f"{line.value} {line.unit}",
            str(line.count),
        )
    Console().print(table)


def run(
    url: str, checkpoint: Path, folder: Path, *, font: Path, sample: int, concurrency: int
) -> list[Measure]:
    """Measure the server at `url`, which serves `checkpoint`."""
    emoji = load_emoji_set(font)
    side = load_rudolph(checkpoint).output_side
    measured = asyncio.run(
        measure(
            url, emoji, side, sample=sample, concurrency=concurrency, checkpoint=checkpoint, folder=folder
        )
    )
    print_table(measured)
    return measured
