"""What the quality command counts as right, on images that are known."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest
import torch
from torch import Tensor

from examples.demo_checkpoint.drawing import Cast
from examples.demo_checkpoint.generation import prompt_of
from examples.demo_checkpoint.images import base64_png, pixels_of
from examples.demo_checkpoint.measures import Measure, print_table
from examples.demo_checkpoint.quality import SceneQuality
from examples.demo_checkpoint.scenes import Scene
from examples.demo_checkpoint.server import SceneServer
from examples.demo_checkpoint.sets import SPRITE_SIDE
from examples.demo_checkpoint.things import STYLES, load_things

NUM_THINGS = 18
SIDE = 64


@pytest.fixture(scope="module")
def cast() -> Cast:
    """Return things with a bright bar each, at its own height, and in each style at its own place."""
    sprites = torch.zeros(NUM_THINGS, len(STYLES), 4, SPRITE_SIDE, SPRITE_SIDE, dtype=torch.uint8)
    for thing in range(NUM_THINGS):
        for style in range(len(STYLES)):
            left = 10 + 14 * style
            sprites[thing, style, :, 6 * thing : 6 * thing + 8, left : left + 40] = torch.tensor(
                [[[255]], [[200]], [[90]], [[255]]]
            )
    return Cast(load_things(NUM_THINGS), sprites)


class _TwoOfThree(SceneServer):
    """A server whose every third answer is wrong; counting must find exactly those."""

    def __init__(self, cast: Cast) -> None:
        super().__init__(httpx.AsyncClient())
        self._cast = cast
        self._calls = 0

    def _is_wrong(self) -> bool:
        self._calls += 1
        return self._calls % 3 == 0

    async def images(self, prompt: str, seed: int, *, count: int = 1, candidates: int = 1) -> list[Tensor]:
        names = [thing.name for thing in self._cast.things]
        thing = (names.index(prompt) + self._is_wrong()) % len(names)
        scenes = [Scene((thing,), number % 3) for number in range(count)]
        return list(self._cast.draw(scenes, SIDE))

    async def class_surprises(self, image: Tensor, classes: Sequence[str]) -> list[float]:
        names = [thing.name for thing in self._cast.things]
        scenes = [Scene((names.index(name),), style) for name in classes for style in range(len(STYLES))]
        exact = self._cast.draw(scenes, SIDE).flatten(1)
        distances = (exact - image.flatten()).square().sum(1).view(len(classes), -1).min(1).values
        return (-distances if self._is_wrong() else distances).tolist()


def _quality(cast: Cast) -> SceneQuality:
    return SceneQuality(_TwoOfThree(cast), cast, SIDE, sample=NUM_THINGS, concurrency=1)


def test_shares_count_what_is_right_and_failures_name_the_prompts(cast: Cast) -> None:
    quality = _quality(cast)
    assert asyncio.run(quality.drawing("names", quality.names())) == pytest.approx(100 * 12 / 18)
    prompts = [prompt_of(scene, cast.things) for scene in quality.names()]
    assert quality.failures["names"] == prompts[2::3]


def test_the_best_class_counts(cast: Cast) -> None:
    assert 50 <= asyncio.run(_quality(cast).classification("classes", 5)) <= 100 * 12 / 18


def test_styles_are_counted_among_the_right_images(cast: Cast) -> None:
    assert asyncio.run(_quality(cast).variety()) == pytest.approx(3 * 12 / 18)


def test_an_image_survives_the_way_as_base64() -> None:
    image = torch.randint(0, 256, (3, 16, 16)).float() / 255.0
    assert torch.equal(pixels_of(base64_png(image)), image)


def test_the_table_names_every_measure(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Measure("image nearest", 97.5, "%", 40, 95, 99)])
    assert "97.5 %" in capsys.readouterr().out
