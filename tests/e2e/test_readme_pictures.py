"""What the README says of its images is what they show."""

import pytest

from scripts.pages.comparing import same_image
from scripts.pictures.demo import READMES, TILES, captions, replaced
from scripts.pictures.failures import SHEET, draw_failures
from tests.support.servers import Server


def test_every_tile_shows_what_the_caption_names(demo: Server) -> None:
    assert captions(demo.client) == list(TILES)


@pytest.mark.parametrize("language", READMES)
def test_caption_and_alternative_text_come_from_the_same_list(language: str) -> None:
    text = READMES[language].read_text(encoding="utf-8")
    assert replaced(text, language) == text
    for prompt, meaning in TILES.items():
        assert f"«{prompt}»" in text
        assert (meaning if language == "en" else prompt) in text


def test_the_sheet_of_failures_is_current(demo: Server) -> None:
    """If this fails, look at the new images: `make readme-pictures` writes them, but not the table below."""
    assert same_image(SHEET, draw_failures(demo.url))
