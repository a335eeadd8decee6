"""How good the served demo checkpoint is: over HTTP, with pictures and seeds that training never saw.

Knows the HTTP contract and the demo's pictures. `make demo-quality` prints the table and writes the figures
as JSON and a contact sheet.
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

from model.checkpoint import load_rudolph
from training.augment import STRONG
from training.emoji_names import BACKGROUNDS, phrase
from training.emoji_pictures import EmojiSet, load_emoji_set
from training.image_tokenizer_trainer import as_coded
from training.judging import Judge, base64_png, pixels_of
from training.sheets import save_sheet
from training.state import replace_file, step_generator

MEASURE_SEED = 20_260_101
"""Apart from every seed of training."""
DRAWING = {"top_k": 64, "top_p": 0.9, "temperature": 0.5}
CAPTIONS = {"temperature": 0.5}
"""Labels are learnt smoothed, so that the default of 0.9 draws much that is unlikely."""
RETRIES = 5

Item = TypeVar("Item")


@dataclass(frozen=True)
class Measure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    count: int
    """Of what was measured."""
    must: float | None
    aim: float | None


class Server:
    """The routes that are measured, with the pictures of the demo."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def draw(self, prompt: str, candidates: int, seed: int, **options: object) -> Tensor:
        """The best of `candidates` pictures, shape = (3, side, side), in [0, 1]."""
        body = {"prompt": prompt, "n": 1, "candidates": candidates, "seed": seed, **DRAWING, **options}
        return pixels_of((await self._post("/v1/text2image", body))["images"][0]["b64_json"])

    async def caption(self, picture: Tensor, candidates: int, seed: int) -> str:
        body = {"image": base64_png(picture), "n": 1, "candidates": candidates, "seed": seed, **CAPTIONS}
        return str((await self._post("/v1/image2text", body))["texts"][0]["text"])

    async def classify(self, picture: Tensor, classes: Sequence[str]) -> int:
        body = {"image": base64_png(picture), "classes": list(classes), "template": "{}"}
        return int((await self._post("/v1/classify", body))["label"])

    async def rank(self, text: str, pictures: Tensor) -> int:
        """Place of the best picture."""
        body = {"text": text, "images": [base64_png(picture) for picture in pictures]}
        return int((await self._post("/v1/rank/images", body))["ranking"][0]["index"])

    async def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = await self._client.post(route, json=body)
        for _ in range(RETRIES):
            if reply.status_code not in (429, 503):
                break
            await asyncio.sleep(float(reply.headers.get("retry-after", "1")))
            reply = await self._client.post(route, json=body)
        if reply.status_code != 200:
            raise RuntimeError(f"{route} answered {reply.status_code}: {reply.text[:300]}")
        return reply.json()


class Quality:
    """All measures of one server."""

    def __init__(self, server: Server, emoji: EmojiSet, side: int, sample: int, concurrency: int) -> None:
        self._server, self._emoji, self._side = server, emoji, side
        self._gate = asyncio.Semaphore(concurrency)
        order = torch.randperm(len(emoji), generator=step_generator(MEASURE_SEED, 0)).tolist()
        self._chosen: list[int] = order[:sample]
        self._white = Judge(emoji, side, [0])
        self._all = Judge(emoji, side, range(len(BACKGROUNDS)))

    async def drawing(self, candidates: int, **options: object) -> float:
        """Share of names whose picture is nearest to the right one among all emoji on white."""

        async def right(index: int) -> bool:
            name = self._emoji.emoji[index].name
            picture = await self._server.draw(name, candidates, MEASURE_SEED + index, **options)
            return self._white.nearest(picture)[0] == index

        return await self._share(self._chosen, right)

    async def captions(self) -> float:
        """Share of moved pictures on white whose best caption of eight is the name."""

        async def right(index: int) -> bool:
            caption = await self._server.caption(self._moved(index, 1), 8, MEASURE_SEED + index)
            return caption == self._emoji.emoji[index].name

        return await self._share(self._chosen, right)

    async def classification(self, num_classes: int) -> float:
        """Share of moved pictures on white whose class wins among `num_classes`."""

        async def right(index: int) -> bool:
            classes = self._with_others(index, num_classes, "classes")
            label = await self._server.classify(
                self._moved(index, 2), [self._emoji.emoji[c].name for c in classes]
            )
            return classes[label] == index

        return await self._share(self._chosen, right)

    async def ranking(self) -> float:
        """Share of names whose picture comes first among ten moved pictures on white."""

        async def right(index: int) -> bool:
            others = self._with_others(index, 10, "ranking")
            pictures = torch.stack([self._moved(other, 3) for other in others])
            return others[await self._server.rank(self._emoji.emoji[index].name, pictures)] == index

        return await self._share(self._chosen, right)

    async def composition(self, pairs: Sequence[tuple[int, int]], candidates: int) -> float:
        """Share of pairs whose picture is nearest to the right emoji on the right colour, of all pairs."""

        async def right(pair: tuple[int, int]) -> bool:
            prompt = phrase(self._emoji.emoji[pair[0]].name, BACKGROUNDS[pair[1]])
            picture = await self._server.draw(prompt, candidates, MEASURE_SEED + pair[0])
            return self._all.nearest(picture) == pair

        return await self._share(pairs, right)

    async def sheet(self, path: Path) -> None:
        """Contact sheet: names on white, then pairs that training never saw."""
        pairs = [(index, 0) for index in self._chosen[:48]] + self.pairs(seen=False)[:48]

        async def drawn(pair: tuple[int, int]) -> Tensor:
            async with self._gate:
                prompt = phrase(self._emoji.emoji[pair[0]].name, BACKGROUNDS[pair[1]])
                return await self._server.draw(prompt, 4, MEASURE_SEED)

        save_sheet(path, torch.stack(await asyncio.gather(*map(drawn, pairs))), columns=16)

    def pairs(self, *, seen: bool) -> list[tuple[int, int]]:
        """A sample of coloured pairs that were trained on, or never."""
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
        """A fresh view, as training saw other ones."""
        random = step_generator(MEASURE_SEED, index, f"view {kind}")
        return self._emoji.draw([(index, 0)], self._side, STRONG, random)[0]

    def _with_others(self, index: int, count: int, stream: str) -> list[int]:
        random = step_generator(MEASURE_SEED, index, stream)
        others = [i for i in torch.randperm(len(self._emoji), generator=random).tolist() if i != index]
        place = int(torch.randint(count, (1,), generator=random))
        return [*others[: count - 1][:place], index, *others[: count - 1][place:]]


def reconstruction(checkpoint: Path, emoji: EmojiSet, side: int) -> float:
    """Mean peak signal-to-noise ratio in dB of moved pictures through the image tokenizer; not over HTTP."""
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
    """Run every measure, printing each as it is known."""
    async with httpx.AsyncClient(base_url=url, timeout=600.0) as client:
        quality = Quality(Server(client), emoji, side, min(sample, len(emoji)), concurrency)
        seen, unseen = quality.pairs(seen=True), quality.pairs(seen=False)
        plan: list[tuple[str, Awaitable[float], float, float | None]] = [
            ("picture nearest to the right one, n = 1", quality.drawing(1), 95, 99),
            ("the same, best of 4 by self-reranking", quality.drawing(4), 98, 100),
            ("captions exact, best of 8 by self-reranking", quality.captions(), 85, 95),
            ("classification among 20", quality.classification(20), 95, 99),
            ("classification among 200", quality.classification(200), 80, 92),
            ("image ranking, right one first of 10", quality.ranking(), 95, 99),
            ("composition, pairs seen", quality.composition(seen, 1), 60, 90),
            ("composition, pairs never seen", quality.composition(unseen, 1), 60, 90),
            ("the same, best of 4", quality.composition(unseen, 4), 60, 90),
        ]
        measures: list[Measure] = []
        for name, running, must, aim in plan:
            measures.append(Measure(name, round(await running, 1), "%", min(sample, len(emoji)), must, aim))
            print_line(measures[-1])
        decibels = round(reconstruction(checkpoint, emoji, side), 2)
        measures.append(Measure("reconstruction of moved pictures", decibels, "dB", len(emoji), 24, 28))
        print_line(measures[-1])
        await quality.sheet(folder / "contact-sheet.png")
    with replace_file(folder / "quality.json") as temporary:
        temporary.write_text(json.dumps([asdict(m) for m in measures], indent=1) + "\n", encoding="utf-8")
    return measures


def print_line(line: Measure) -> None:
    Console(stderr=True).print(f"{line.name}: {line.value} {line.unit}")


def print_table(measures: Sequence[Measure]) -> None:
    """The table of the README, on standard output."""
    table = Table("measure", "must", "aim", "measured", "of")
    for line in measures:
        table.add_row(
            line.name,
            f"{line.must} {line.unit}",
            f"{line.aim} {line.unit}",
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
