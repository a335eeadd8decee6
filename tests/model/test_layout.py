"""Positions, segments and head slices."""

import pytest

from model.config import PRESETS, ModelConfig
from model.layout import RowGroups, Segment, cell_of, head_slice, segment_of

CONFIG = ModelConfig(6, 32, 2, 5, 3, 4, 3, 5, bpe_vocab_size=50, image_codebook_size=20)


def test_segments_follow_one_another_without_gaps():
    segments = [segment_of(CONFIG, position) for position in range(CONFIG.total_length)]
    assert segments == [Segment.LEFT_TEXT] * 5 + [Segment.IMAGE] * 9 + [Segment.RIGHT_TEXT] * 4


@pytest.mark.parametrize("position", [-1, 18])
def test_position_outside_the_sequence_is_refused(position: int):
    with pytest.raises(ValueError, match="outside"):
        segment_of(CONFIG, position)


def test_cells_run_row_by_row():
    assert [cell_of(CONFIG, position) for position in range(5, 10)] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
    ]
    with pytest.raises(ValueError, match="no image position"):
        cell_of(CONFIG, 4)


def test_head_slice_is_that_of_the_drawn_token():
    assert head_slice(CONFIG, 4) == slice(0, 55)
    assert head_slice(CONFIG, 5) == slice(55, 75), "the last left-text state draws the first code"
    assert head_slice(CONFIG, 14) == slice(0, 55)


def test_groups_count_rows_and_bound_what_they_read():
    groups = RowGroups.of(CONFIG, [0, 3, 5, 13, 6, 14, 17, 15])
    assert groups == RowGroups(num_left=2, num_image=3, num_right=3, left_extent=4, right_extent=4)
    assert RowGroups.of(CONFIG, [7]) == RowGroups(num_image=1)
    assert groups.num_rows == 8


def test_rows_out_of_segment_order_are_refused():
    with pytest.raises(ValueError, match="ordered by segment"):
        RowGroups.of(CONFIG, [7, 2])


def test_published_sizes_add_up():
    config = PRESETS["350M"].config
    assert config.total_length == 384
    assert config.vocab_size == 24640
