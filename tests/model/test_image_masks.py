"""Masks of images: which cells are drawn again."""

import pytest
from PIL import Image

from model.images import ImageError, redrawn_cells
from tests.model.picture_files import file_of


def mask_of(size, holes) -> bytes:
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    for hole in holes:
        mask.paste((0, 0, 0, 0), hole)
    return file_of(mask)


def test_mask_redraws_the_cells_that_it_touches():
    # One pixel in cell (0, 1), and a block over cells (2, 2), (2, 3), (3, 2), (3, 3).
    data = mask_of((32, 32), [(8, 0, 9, 1), (20, 20, 30, 30)])
    cells = redrawn_cells(data, (32, 32), 4)
    assert [index for index, redrawn in enumerate(cells) if redrawn] == [1, 10, 11, 14, 15]


def test_mask_of_an_oblong_picture_counts_within_the_centred_square():
    # The square is columns 20 … 59 of 80; the left hole is outside of it.
    data = mask_of((80, 40), [(0, 0, 20, 40), (50, 30, 60, 40)])
    cells = redrawn_cells(data, (80, 40), 4)
    assert [index for index, redrawn in enumerate(cells) if redrawn] == [15]


def test_pixel_on_the_border_of_two_cells_redraws_both():
    # 33 pixels in 4 cells: pixel 8 covers 8 … 9, and the border is at 8.25.
    cells = redrawn_cells(mask_of((33, 33), [(8, 0, 9, 1)]), (33, 33), 4)
    assert [index for index, redrawn in enumerate(cells) if redrawn] == [0, 1]


def test_half_transparent_pixels_are_kept():
    data = file_of(Image.new("RGBA", (32, 32), (0, 0, 0, 1)))
    assert not any(redrawn_cells(data, (32, 32), 4))


def test_small_masks_have_a_flag_for_every_cell():
    cells = redrawn_cells(mask_of((16, 16), [(0, 0, 16, 16)]), (16, 16), 32)
    assert cells == [True] * 1024


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (file_of(Image.new("RGB", (32, 32))), "no_alpha"),
        (mask_of((32, 31), []), "mask_size"),
        (mask_of((32, 32), [])[:60], "damaged"),
    ],
)
def test_unusable_masks_are_refused(data, reason):
    with pytest.raises(ImageError) as caught:
        redrawn_cells(data, (32, 32), 4)
    assert caught.value.reason == reason
