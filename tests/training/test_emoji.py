"""The demo's data: names, held-out pairs, pictures, and rows that never show what is held out."""

from pathlib import Path

import pytest
import torch

from model.config import BOS_ID, EOS_ID, PAD_ID, ModelConfig
from training.augment import STRONG
from training.emoji_codes import EmojiCodes, background_codes
from training.emoji_names import ALIASES, BACKGROUNDS, Emoji, is_held_out, object_emoji, phrase
from training.emoji_pictures import DEFAULT_FONT, EmojiSet, FontMissing, load_emoji_set
from training.emoji_rows import EmojiMixture, EmojiRows
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
    assert len(set(names)) == len(names) > 350
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
    marks = torch.tensor([[index, ground, 0, 0] for index, ground in pairs], dtype=torch.int16)
    white = torch.tensor([[index, 0, 0, 0] for index in range(40)])
    codes = EmojiCodes(
        pairs=pairs,
        white=white,
        empty=torch.tensor([[False, True, False, False]]).expand(40, 4),
        grounds=torch.arange(len(BACKGROUNDS)),
        weak=marks.long(),
        strong_white=white.short().unsqueeze(1),
        strong_coloured=marks[[place for place, pair in enumerate(pairs) if pair[1]]].unsqueeze(1),
    )
    builder = RowBuilder(CONFIG, _Letters())  # type: ignore[arg-type]
    rows = EmojiRows(emoji, codes, builder, EmojiMixture(), total_steps=20, seed=3)
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


def test_each_background_has_a_code_of_its_own_that_its_empty_cells_have() -> None:
    grounds = range(len(BACKGROUNDS))
    pairs = [(index, ground) for index in range(2) for ground in grounds]
    # Cell 0 is empty and shows code 5 on every background, cell 1 too, with the background's own code.
    plain = torch.tensor([[5, 10 + ground, 99] for _, ground in pairs])
    empty = torch.tensor([[True, True, False], [True, True, False]])
    codes = background_codes(pairs, plain, empty).tolist()
    assert len(set(codes)) == len(BACKGROUNDS)
    assert all(code in (5, 10 + ground) for ground, code in zip(grounds, codes, strict=True))


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
    empty = emoji.empty_cells(8)[place].view(8, 8)
    assert bool(empty[0, 0])
    assert not bool(empty[4, 4])
    moved = emoji.draw([(place, 0)], 64, STRONG, step_generator(0, 0))[0]
    assert float((moved - white).abs().mean()) > 0.005
