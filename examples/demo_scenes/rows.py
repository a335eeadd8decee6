"""Training sequences of the demo: scenes with prompts and captions.

Chooses the share of each kind. Codes come from `drawing.py`, layouts from `training/sequences.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from examples.demo_scenes.drawing import SceneCodes
from examples.demo_scenes.phrases import PromptShares, caption, prompt
from examples.demo_scenes.scenes import Scene, SceneSampler, SceneShares
from training.sequences import LossWeights, RowBuilder, Rows, Smoothing
from training.state import step_generator

DRAW_WEIGHTS = LossWeights(left=1.0, image=7.0, right=0.0)
NAME_WEIGHTS = LossWeights(left=0.0, image=1.0, right=4.0)
NAME_SMOOTHING = Smoothing(image=0.3, right=0.35)
TEXT_WEIGHTS = LossWeights(left=1.0, image=0.0, right=0.0)
Encode = Callable[[Sequence[Scene], Generator], Tensor]
"""Encodes new, strongly moved images of scenes; codes are int64, shape = (scenes, cells)."""


@dataclass(frozen=True)
class SceneMixture:
    """Numbers of each kind in a batch."""

    drawn_rows: int = 24
    """From text to image, with composed codes."""
    moved_rows: int = 3
    """From text to image, with moved images, because their likelihood scores captions."""
    named_rows: int = 12
    """From image to text, with moved images."""
    named_composed_rows: int = 4
    """From image to text, with composed codes, because the likelihood of the text scores drawn images."""
    unprompted_rows: int = 1
    text_rows: int = 1
    clean_share: float = 0.4
    """Share of text-to-image sequences whose input codes are all right. In each of the others, a random share
    of the input codes is wrong."""
    drawn: SceneShares = field(default_factory=SceneShares)
    named: SceneShares = field(
        default_factory=lambda: SceneShares(
            styled=0.0, coloured=0.12, small=0.02, placed=0.08, number=0.08, pair=0.12, on_ground=0.25
        )
    )
    prompts: PromptShares = field(default_factory=PromptShares)
    draw_weights: LossWeights = DRAW_WEIGHTS
    name_weights: LossWeights = NAME_WEIGHTS
    name_smoothing: Smoothing = NAME_SMOOTHING


class SceneRows:
    """Batches of the transformer; a batch is a function of (seed, step)."""

    def __init__(
        self,
        sampler: SceneSampler,
        codes: SceneCodes,
        encode: Encode,
        builder: RowBuilder,
        mixture: SceneMixture,
        *,
        seed: int,
    ) -> None:
        self._sampler, self._codes, self._encode, self._builder = sampler, codes, encode, builder
        self._mixture, self._seed = mixture, seed

    def __call__(self, step: int) -> list[Rows]:
        random = step_generator(self._seed, step, "rows")
        mixture, build = self._mixture, self._builder
        drawn = self._scenes(mixture.drawn_rows, mixture.drawn, random)
        moved = self._scenes(mixture.moved_rows, mixture.drawn, random)
        named = self._scenes(mixture.named_rows, mixture.named, random)
        composed = self._scenes(mixture.named_composed_rows, mixture.drawn, random)
        views = self._encode([*moved, *named], random)
        things = self._sampler.things
        named_rows = build.image_to_text(
            [caption(scene, things) for scene in [*named, *composed]],
            torch.cat([views[len(moved) :], self._codes.composed(composed)]),
            mixture.name_weights,
        )
        rows = [
            self._drawn(
                [*drawn, *moved], torch.cat([self._codes.composed(drawn), views[: len(moved)]]), random
            ),
            replace(named_rows, smoothing=mixture.name_smoothing),
        ]
        if mixture.unprompted_rows:
            scenes = self._scenes(mixture.unprompted_rows, mixture.drawn, random)
            rows.append(build.unconditional(self._codes.composed(scenes), mixture.draw_weights))
        if mixture.text_rows:
            scenes = self._scenes(mixture.text_rows, mixture.drawn, random)
            texts = [prompt(scene, things, mixture.prompts, random) for scene in scenes]
            rows.append(build.text_to_text(texts, TEXT_WEIGHTS))
        return rows

    def _scenes(self, count: int, shares: SceneShares, random: Generator) -> list[Scene]:
        return [self._sampler.sample(shares, random) for _ in range(count)]

    def _drawn(self, scenes: Sequence[Scene], codes: Tensor, random: Generator) -> Rows:
        texts = [prompt(scene, self._sampler.things, self._mixture.prompts, random) for scene in scenes]
        rows = self._builder.text_to_image(texts, codes, self._mixture.draw_weights)
        return replace(rows, shown=self._with_wrong_codes(codes, random))

    def _with_wrong_codes(self, codes: Tensor, random: Generator) -> Tensor:
        """Replace some codes by those of other drawings in the same cell."""
        shares = torch.rand(len(codes), 1, generator=random)
        shares[torch.rand(len(codes), 1, generator=random) < self._mixture.clean_share] = 0.0
        wrong = torch.rand(codes.shape, generator=random) < shares
        pool = self._codes.codes.flatten(1)
        others = torch.randint(len(pool), codes.shape, generator=random)
        return torch.where(wrong, pool.gather(0, others), codes)
