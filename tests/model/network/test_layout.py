"""Positions, segments, and the order of a decode step."""

import pytest

from model.config import PRESETS, ModelConfig
from model.network.layout import Segment, StepLayout, segment_of

CONFIG = ModelConfig(6, 32, 2, 5, 3, 4, 3, 5, bpe_vocab_size=50, image_codebook_size=20)


def test_segments_follow_one_another_without_gaps():
    segments = [segment_of(CONFIG, position) for position in range(CONFIG.total_length)]
    assert segments == [Segment.LEFT_TEXT] * 5 + [Segment.IMAGE] * 9 + [Segment.RIGHT_TEXT] * 4


@pytest.mark.parametrize("position", [-1, 18])
def test_position_outside_the_sequence_is_refused(position: int):
    with pytest.raises(ValueError, match="outside"):
        segment_of(CONFIG, position)


def test_layout_counts_sequences_and_bounds_what_they_read():
    layout = StepLayout.of(CONFIG, [0, 3, 5, 13, 6, 14, 17, 15])
    assert layout == StepLayout(num_left=2, num_image=3, num_right=3, left_extent=4, right_extent=4)
    assert StepLayout.of(CONFIG, [7]) == StepLayout(num_image=1)
    assert layout.image == slice(2, 5)
    assert layout.right == slice(5, None)


def test_sequences_out_of_segment_order_are_refused():
    with pytest.raises(ValueError, match="ordered by segment"):
        StepLayout.of(CONFIG, [7, 2])


def test_published_sizes_add_up():
    config = PRESETS["350M"].config
    assert config.total_length == 384
    assert config.vocab_size == 24640
