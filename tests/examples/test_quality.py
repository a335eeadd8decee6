"""What the quality command counts as right, on pictures that are known."""

import asyncio

import httpx
import pytest
import torch
from torch import Tensor

from examples.demo_checkpoint.images import SPRITE_SIDE, EmojiSet
from examples.demo_checkpoint.metrics import NearestPair, base64_png, pixels_of
from examples.demo_checkpoint.names import BACKGROUNDS, object_emoji
from examples.demo_checkpoint.quality import Measure, Quality, Server, print_table


@pytest.fixture
def emoji() -> EmojiSet:
    """Twenty names with a bright bar each, at its own place."""
    sprites = torch.zeros(20, 4, SPRITE_SIDE, SPRITE_SIDE, dtype=torch.uint8)
    for index in range(20):
        sprites[index, :, 6 * index : 6 * index + 8, 20:100] = torch.tensor(
            [[[255]], [[200]], [[90]], [[255]]]
        )
    return EmojiSet(tuple(object_emoji()[:20]), sprites)


def test_a_true_picture_is_judged_as_its_pair_also_with_noise(emoji: EmojiSet) -> None:
    judge = NearestPair(emoji, 64, range(len(BACKGROUNDS)))
    for pair in [(0, 0), (7, 3), (19, 8)]:
        picture = emoji.draw([pair], 64)[0]
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
        assert judge.nearest((picture + 0.1 * noise).clamp(0, 1)) == pair


def test_a_picture_survives_the_way_as_base64() -> None:
    picture = torch.randint(0, 256, (3, 16, 16)).float() / 255.0
    assert torch.equal(pixels_of(base64_png(picture)), picture)


class _Truthful(Server):
    """A server whose every third answer is wrong; counting must find exactly those."""

    def __init__(self, emoji: EmojiSet) -> None:
        super().__init__(httpx.AsyncClient())
        self._known = emoji
        self._calls = 0

    async def draw(self, prompt: str, candidates: int, seed: int, **options: object) -> Tensor:
        self._calls += 1
        names = [item.name for item in self._known.emoji]
        shown = names.index(next(name for name in names if prompt.split(" на ", maxsplit=1)[0] == name))
        ground = next(i for i, b in enumerate(BACKGROUNDS) if prompt == f"{names[shown]} {b.words}".strip())
        wrong = self._calls % 3 == 0
        return self._known.draw([((shown + wrong) % len(names), ground)], 64)[0]


def test_shares_count_what_is_right(emoji: EmojiSet) -> None:
    quality = Quality(_Truthful(emoji), emoji, 64, sample=18, concurrency=1)
    assert asyncio.run(quality.drawing(1)) == pytest.approx(100 * 12 / 18)
    pairs = quality.pairs(seen=False)[:9]
    assert asyncio.run(quality.composition(pairs, 1)) == pytest.approx(100 * 6 / 9)
    assert not set(quality.pairs(seen=True)) & set(emoji.held_out_pairs())


def test_the_table_names_every_measure(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Measure("picture nearest", 97.5, "%", 40, 95, 99)])
    assert "97.5 %" in capsys.readouterr().out
