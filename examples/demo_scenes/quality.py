"""Measurements of a served checkpoint over HTTP, with images and seeds not used in training."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from examples.demo_checkpoint.quality import MEASURE_SEED
from examples.demo_scenes.drawing import Cast
from examples.demo_scenes.generation import prompt_of
from examples.demo_scenes.metrics import Recogniser
from examples.demo_scenes.scenes import Level, Scene, SceneSampler, SceneShares, below, held_out
from examples.demo_scenes.server import CANDIDATES, SceneServer
from examples.demo_scenes.things import STYLES
from training.augment import STRONG
from training.sheets import save_sheet
from training.state import step_generator

NOTHING = SceneShares(styled=0, coloured=0, small=0, placed=0, number=0, pair=0, on_ground=0)
KINDS: dict[Level, SceneShares] = {
    "colour": replace(NOTHING, coloured=1.0),
    "style": replace(NOTHING, styled=1.0),
    "background": replace(NOTHING, on_ground=1.0),
    "place": replace(NOTHING, placed=1.0),
    "number": replace(NOTHING, number=1.0),
    "pair": replace(NOTHING, pair=1.0),
}
TRIES = 4000
SHEET_COLUMNS = 16

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass
class SceneQuality:
    """All measurements of one server."""

    server: SceneServer
    cast: Cast
    side: int
    sample: int
    concurrency: int
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Prompts that failed, by measure."""

    def __post_init__(self) -> None:
        self._gate = asyncio.Semaphore(self.concurrency)
        self._recogniser = Recogniser(self.cast, self.side)
        self._sampler = SceneSampler(self.cast.things)

    async def drawing(self, name: str, scenes: Sequence[Scene], candidates: int = 1, word: str = "") -> float:
        """Return the share of scenes that the best of `candidates` images shows. word: before each prompt."""

        async def right(item: tuple[int, Scene]) -> bool:
            place, scene = item
            prompt = f"{word} {prompt_of(scene, self.cast.things)}".strip()
            images = await self.server.images(prompt, MEASURE_SEED + place, candidates=candidates)
            return self._noted(name, prompt, self._recogniser.shows(images[0], scene))

        return await self._share(list(enumerate(scenes)), right)

    async def variety(self) -> float:
        """Return the mean number of styles among the right ones of eight images of a name."""

        async def styles(thing: int) -> float:
            images = await self.server.images(
                self.cast.things[thing].name, MEASURE_SEED + thing, count=CANDIDATES
            )
            found = [self._recogniser.nearest(image, "plain") for image in images]
            return len({scene.style for scene in found if scene.things == (thing,)})

        return await self._mean(self.chosen_things(), styles)

    async def captions(self, name: str) -> float:
        """Return the share of moved images whose best caption of eight has the name of the thing."""

        async def right(thing: int) -> bool:
            caption = await self.server.best_caption(self.moved(thing, 1), MEASURE_SEED + thing)
            expected = self.cast.things[thing].name
            words = caption.replace("ё", "е").split()
            is_right = set(expected.replace("ё", "е").split()) <= set(words)
            return self._noted(name, f"{expected}: {caption}", is_right)

        return await self._share(self.chosen_things(), right)

    async def classification(self, name: str, num_classes: int) -> float:
        """Return the share of moved images whose class is chosen among `num_classes`."""

        async def right(thing: int) -> bool:
            classes = self.with_others(thing, num_classes, "classes")
            names = [self.cast.things[index].name for index in classes]
            label = await self.server.classify(self.moved(thing, 2), names)
            return self._noted(
                name, f"{self.cast.things[thing].name}: {names[label]}", classes[label] == thing
            )

        return await self._share(self.chosen_things(), right)

    async def ranking(self, name: str) -> float:
        """Return the share of names whose image ranks first among ten moved images."""

        async def right(thing: int) -> bool:
            others = self.with_others(thing, 10, "ranking")
            images = torch.stack([self.moved(other, 3) for other in others])
            best = others[await self.server.rank(self.cast.things[thing].name, images)]
            text = f"{self.cast.things[thing].name}: {self.cast.things[best].name}"
            return self._noted(name, text, best == thing)

        return await self._share(self.chosen_things(), right)

    def scenes(self, level: Level, *, seen: bool) -> list[Scene]:
        """Return different scenes of a level, of the training data or held out at this level only."""
        random = step_generator(MEASURE_SEED, int(seen), level)
        wanted: set[Level] = set() if seen else {level}
        found: dict[Scene, None] = {}
        for _ in range(TRIES):
            scene = self._sampler.propose(KINDS[level], random)
            if held_out(scene, self.cast.things) == wanted:
                found.setdefault(scene)
            if len(found) == self.sample:
                break
        return list(found)

    def names(self) -> list[Scene]:
        """Return scenes of one thing each."""
        return [Scene((thing,), 0) for thing in self.chosen_things()]

    def chosen_things(self) -> list[int]:
        order = torch.randperm(len(self.cast.things), generator=step_generator(MEASURE_SEED, 0)).tolist()
        return order[: self.sample]

    async def each(self, items: Sequence[Item], value: Callable[[Item], Awaitable[Value]]) -> list[Value]:
        """Return the value of each item; some are asked for at a time."""

        async def gated(item: Item) -> Value:
            async with self._gate:
                return await value(item)

        return await asyncio.gather(*[gated(item) for item in items])

    async def sheet(self, path: Path) -> None:
        """Write a contact sheet: eight candidates of some names, then held-out scenes of each level."""
        rows: list[Tensor] = []
        for place, scene in enumerate(self.names()[:SHEET_COLUMNS]):
            prompt = prompt_of(scene, self.cast.things)
            rows += await self.server.images(prompt, MEASURE_SEED + place, count=CANDIDATES)
        for level in KINDS:
            for scene in self.scenes(level, seen=False)[:SHEET_COLUMNS]:
                rows += await self.server.images(prompt_of(scene, self.cast.things), MEASURE_SEED)
        save_sheet(path, torch.stack(rows), columns=SHEET_COLUMNS)

    def _noted(self, name: str, prompt: str, is_right: bool) -> bool:
        if not is_right:
            self.failures.setdefault(name, []).append(prompt)
        return is_right

    async def _share(self, items: Sequence[Item], right: Callable[[Item], Awaitable[bool]]) -> float:
        return 100.0 * await self._mean(items, right)

    async def _mean(self, items: Sequence[Item], value: Callable[[Item], Awaitable[float]]) -> float:
        values = await self.each(items, value)
        return sum(values) / max(1, len(values))

    def moved(self, thing: int, kind: int) -> Tensor:
        """Return a new random view of a thing in a random style."""
        random = step_generator(MEASURE_SEED, thing, f"view {kind}")
        scene = Scene((thing,), below(len(STYLES), random))
        return self.cast.draw([scene], self.side, STRONG, random)[0]

    def with_others(self, thing: int, count: int, stream: str) -> list[int]:
        """Return up to `count` things in random order, with this one."""
        random = step_generator(MEASURE_SEED, thing, stream)
        order = torch.randperm(len(self.cast.things), generator=random).tolist()
        chosen = [thing, *(other for other in order if other != thing)][:count]
        return [chosen[place] for place in torch.randperm(len(chosen), generator=random).tolist()]
