"""Batches for the image tokenizer: moved scenes, and scenes composed of the codes of single drawings."""

import torch
from torch import Tensor

from examples.demo_scenes.drawing import Cast, bare_grounds
from examples.demo_scenes.scenes import CELLS, Drawing, Scene, SceneSampler, SceneShares
from training.augment import STRONG, WEAK
from training.image_tokenizer_trainer import ImageBatch
from training.state import step_generator

CPU = torch.device("cpu")


class SceneBatches:
    """Batches of images; a batch is a function of (seed, step, stream)."""

    def __init__(
        self,
        cast: Cast,
        *,
        side: int,
        moved: int,
        hardly_moved: int,
        composed: int,
        seed: int,
        shares: SceneShares | None = None,
        device: torch.device = CPU,
    ) -> None:
        """moved, hardly_moved, composed: images of each kind. side: size in pixels."""
        self._device = device
        self._cast, self._side, self._seed = cast, side, seed
        self._moved, self._hardly, self._composed = moved, hardly_moved, composed
        self._sampler, self._shares = SceneSampler(cast.things), shares or SceneShares()
        self._grounds = bare_grounds(side)

    def __call__(self, step: int, stream: str) -> ImageBatch:
        random = step_generator(self._seed, step, stream)
        parts: list[Tensor] = []
        for count, strength in ((self._moved, STRONG), (self._hardly, WEAK)):
            if count:
                scenes = [self._sampler.sample(self._shares, random) for _ in range(count)]
                parts.append(self._cast.draw(scenes, self._side, strength, random))
        scenes = [self._sampler.sample(self._shares, random) for _ in range(self._composed)]
        drawings = list(dict.fromkeys(drawing for scene in scenes for drawing, _ in scene.items()))
        single = [Scene((d.thing,), d.style, "small" if d.small else "whole", d.colour) for d in drawings]
        own = sum(map(len, parts))
        index = {drawing: own + place for place, drawing in enumerate(drawings)}
        grounds = sorted({scene.ground for scene in scenes})
        ground_index = {ground: own + len(drawings) + place for place, ground in enumerate(grounds)}
        sources, cells = self._composition(scenes, index, ground_index)
        kept = torch.arange(own)[:, None, None].expand(-1, CELLS, CELLS)
        pixels = torch.cat([*parts, self._cast.draw(single, self._side), self._grounds[grounds]])
        drawn = torch.cat([*parts, self._cast.draw(scenes, self._side)])
        return ImageBatch(
            pixels=pixels.to(self._device),
            drawn=drawn.to(self._device),
            sources=torch.cat([kept, sources]).to(self._device),
            cells=torch.cat([_own_cells().expand(own, -1, -1), cells]).to(self._device),
        )

    def _composition(
        self, scenes: list[Scene], index: dict[Drawing, int], grounds: dict[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the image and the cell that each cell of the scenes takes its code from."""
        sources = torch.tensor([grounds[scene.ground] for scene in scenes])[:, None, None]
        sources = sources.repeat(1, CELLS, CELLS)
        cells = _own_cells().repeat(len(scenes), 1, 1)
        empty = dict(zip(index, self._cast.empty_cells(list(index)), strict=True))
        for place, scene in enumerate(scenes):
            for drawing, offset in scene.items():
                shown = ~empty[drawing].roll(offset, (0, 1))
                sources[place][shown] = index[drawing]
                cells[place][shown] = _own_cells()[0].roll(offset, (0, 1))[shown]
        return sources, cells


def _own_cells() -> Tensor:
    return torch.arange(CELLS * CELLS).view(1, CELLS, CELLS)
