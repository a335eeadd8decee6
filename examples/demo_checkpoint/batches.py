"""Batches for the image tokenizer of the demo: moved images, and images composed of codes."""

import torch
from torch import Tensor

from examples.demo_checkpoint.images import EmojiSet, bare_grounds
from training.augment import STRONG, WEAK
from training.image_tokenizer_trainer import ImageBatch
from training.state import epoch_batch, step_generator


class EmojiBatches:
    """Batches of images; a batch is a function of (seed, step, stream)."""

    def __init__(
        self,
        emoji: EmojiSet,
        *,
        side: int,
        cells: int,
        moved: int,
        hardly_moved: int,
        composed: int,
        seed: int,
    ) -> None:
        """moved, hardly_moved, composed: images of each kind. side, cells: size in pixels and in cells."""
        self._emoji, self._side, self._cells, self._seed = emoji, side, cells, seed
        self._moved, self._hardly, self._composed = moved, hardly_moved, composed
        self._pairs = emoji.training_pairs()
        self._grounds = bare_grounds(side)

    def __call__(self, step: int, stream: str) -> ImageBatch:
        random = step_generator(self._seed, step, stream)
        total = self._moved + self._hardly + self._composed
        places = epoch_batch(self._seed, step, total, len(self._pairs), stream)
        chosen = [self._pairs[place] for place in places]
        moved, hardly = chosen[: self._moved], chosen[self._moved : total - self._composed]
        composed = chosen[total - self._composed :]
        kinds = (moved, STRONG), (hardly, WEAK)
        images = torch.cat(
            [self._emoji.draw(pairs, self._side, strength, random) for pairs, strength in kinds if pairs]
        )
        on_white = self._emoji.draw([(index, 0) for index, _ in composed], self._side)
        return ImageBatch(
            pixels=torch.cat([images, on_white, self._grounds]),
            drawn=torch.cat([images, self._emoji.draw(composed, self._side)]),
            sources=torch.cat([self._own(len(images)), self._composition(composed, len(images))]),
        )

    def _own(self, count: int) -> Tensor:
        return torch.arange(count)[:, None, None].expand(-1, self._cells, self._cells)

    def _composition(self, composed: list[tuple[int, int]], start: int) -> Tensor:
        """Take empty cells from the plain background, the others from the emoji on white at index `start`."""
        empty = self._emoji.view([index for index, _ in composed], self._side).empty_cells(self._cells)
        grounds = torch.tensor([ground for _, ground in composed]) + start + len(composed)
        return torch.where(empty, grounds[:, None, None], start + self._own(len(composed)))
