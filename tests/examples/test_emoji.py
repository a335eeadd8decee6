"""The demo's data: names, held-out pairs, pictures, and rows that never show what is held out."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from examples.demo_checkpoint.batches import EmojiBatches
from examples.demo_checkpoint.codes import EmojiCodes
from examples.demo_checkpoint.images import DEFAULT_FONT, EmojiSet, FontMissing, load_emoji_set
from examples.demo_checkpoint.names import ALIASES, BACKGROUNDS, Emoji, is_held_out, object_emoji, phrase
from examples.demo_checkpoint.rows import EmojiMixture, EmojiRows
from model.config import BOS_ID, EOS_ID, PAD_ID, ModelConfig
from training.augment import STRONG
from training.sequences import RowBuilder
from training.state import step_generator

CONFIG = ModelConfig(2, 32, 2, 12, 2, 12, 3, 3, 256, 64, text_special_tokens=8)
needs_font = pytest.mark.skipif(not DEFAULT_FONT.is_file(), reason="fonts-noto-color-emoji is not installed")


class _Letters:
    """A tokenizer of one id a letter, enough to read rows back."""

    def encode(self, text: str) -> list[int]:
        return [10 + (ord(letter) % 200) for letter in text]


def test_names_are_russian_lower_case_and_keep_their_breve() -> None:
    emoji = object_emoji()
    names = [item.name for item in emoji]
    assert len(set(names)) == len(names) > 550
    assert {"клубника", "чайник", "новогодняя елка"} <= set(names)
    assert all(name == name.lower() and name.replace(" ", "").isalpha() for name in names)
    assert set(ALIASES) <= set(names)


def test_which_pairs_are_held_out_never_changes() -> None:
    strawberry = Emoji("🍓", "клубника")
    held_out = [background.words for background in BACKGROUNDS if is_held_out(strawberry, background)]
    assert held_out == ["на розовом фоне"]
    pairs = [is_held_out(emoji, ground) for emoji in object_emoji() for ground in BACKGROUNDS[1:]]
    assert 0.11 < sum(pairs) / len(pairs) < 0.14
    assert phrase("кот", BACKGROUNDS[0]) == "кот"


def _small_set(count: int) -> EmojiSet:
    emoji = tuple(object_emoji()[:count])
    sprites = torch.zeros(count, 4, 8, 8, dtype=torch.uint8)
    return EmojiSet(emoji, sprites)


def test_no_row_shows_a_pair_that_is_held_out() -> None:
    emoji = _small_set(40)
    pairs = emoji.training_pairs()
    assert not set(pairs) & set(emoji.held_out_pairs())
    # The codes say which pair they belong to: the first cell the emoji, the second the background.
    codes = EmojiCodes(
        white=torch.tensor([[index, 0, 0, 0] for index in range(40)]),
        empty=torch.tensor([[False, True, False, False]]).expand(40, 4),
        grounds=torch.arange(len(BACKGROUNDS))[:, None].expand(-1, 4),
    )

    def encode(shown: Sequence[tuple[int, int]], _random: torch.Generator) -> torch.Tensor:
        return torch.tensor([[index, ground, 0, 0] for index, ground in shown])

    builder = RowBuilder(CONFIG, _Letters())  # type: ignore[arg-type]
    rows = EmojiRows(emoji, codes, encode, builder, EmojiMixture(), seed=3)
    held_out = set(emoji.held_out_pairs())
    for step in range(20):
        for part in rows(step):
            if part.codes is not None:
                shown = {(int(row[0]), int(row[1])) for row in part.codes}
                assert not shown & held_out
    assert all(torch.equal(a.left, b.left) for a, b in zip(rows(7), rows(7), strict=True))
    named = next(part for part in rows(0) if part.right is not None)
    assert named.right is not None
    assert set(named.right[:, 0].tolist()) == {BOS_ID}
    assert all(EOS_ID in row or PAD_ID not in row for row in named.right.tolist())


def test_composed_codes_are_the_emoji_where_it_is_and_the_background_elsewhere() -> None:
    codes = EmojiCodes(
        white=torch.tensor([[1, 2], [3, 4]]),
        empty=torch.tensor([[False, True], [True, False]]),
        grounds=torch.tensor([[10, 11], [20, 21]]),
    )
    assert codes.composed([(0, 1), (1, 0)]).tolist() == [[1, 21], [10, 4]]


def test_batches_compose_an_emoji_on_white_with_the_bare_ground_and_never_show_what_is_held_out() -> None:
    emoji = _small_set(40)
    sprites = emoji.sprites.clone()
    sprites[:, :, 2:6, 2:6] = 255  # a white square in the middle of each
    emoji = EmojiSet(emoji.emoji, sprites)
    batches = EmojiBatches(emoji, side=8, cells=4, moved=2, hardly_moved=1, composed=3, seed=0)
    allowed = [ground.colour for ground in BACKGROUNDS]
    for step in range(5):
        batch = batches(step, "train")
        again = batches(step, "train")
        assert torch.equal(batch.pixels, again.pixels)
        assert batch.drawn is not None
        assert batch.sources is not None
        assert len(batch.pixels) == 2 + 1 + 3 + len(BACKGROUNDS)
        taken, drawn = batch.arranged(
            batch.pixels[:, :, ::2, ::2]
        )  # a pixel of each cell stands for its code
        assert torch.equal(taken[3:], drawn[3:, :, ::2, ::2])
        corners = (drawn[3:, :, 0, 0] * 255).round().int().tolist()
        assert all(tuple(corner) in allowed for corner in corners)
        assert torch.equal(taken[:3], batch.pixels[:3, :, ::2, ::2])


def test_a_missing_font_is_named_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(FontMissing, match="fonts-noto-color-emoji"):
        load_emoji_set(tmp_path / "none.ttf")


@needs_font
def test_pictures_show_the_emoji_on_its_background() -> None:
    emoji = load_emoji_set()
    place = [item.name for item in emoji.emoji].index("клубника")
    blue = next(index for index, ground in enumerate(BACKGROUNDS) if ground.words == "на синем фоне")
    white, coloured = emoji.draw([(place, 0), (place, blue)], 64)
    assert white.shape == (3, 64, 64)
    assert torch.all(white[:, 0, 0] == 1.0)
    assert [round(float(value) * 255) for value in coloured[:, 0, 0]] == list(BACKGROUNDS[blue].colour)
    red, green, _ = white[:, 36, 32]
    assert red > green + 0.3
    empty = emoji.view([place], 64).empty_cells(8)[0]
    assert bool(empty[0, 0])
    assert not bool(empty[4, 4])
    assert bool(torch.cat([empty[0], empty[-1], empty[:, 0], empty[:, -1]]).all()), (
        "a ring shows the background"
    )
    moved = emoji.draw([(place, 0)], 64, STRONG, step_generator(0, 0))[0]
    assert float((moved - white).abs().mean()) > 0.005
