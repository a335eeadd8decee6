"""Where a position of the sequence lies: its segment, its cell of the picture, the head slice that draws it.

Knows positions only: no tensors, no attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from model.config import ModelConfig


class Segment(IntEnum):
    """The three parts of a sequence, in their order."""

    LEFT_TEXT = 0
    IMAGE = 1
    RIGHT_TEXT = 2


def segment_of(config: ModelConfig, position: int) -> Segment:
    """Segment that holds `position`; ValueError outside the sequence."""
    if not 0 <= position < config.total_length:
        raise ValueError(f"position {position} is outside a sequence of {config.total_length}")
    if position < config.image_start:
        return Segment.LEFT_TEXT
    return Segment.IMAGE if position < config.right_start else Segment.RIGHT_TEXT


def cell_of(config: ModelConfig, position: int) -> tuple[int, int]:
    """(row, column) of the picture cell at an image position."""
    if segment_of(config, position) is not Segment.IMAGE:
        raise ValueError(f"position {position} is no image position")
    return divmod(position - config.image_start, config.image_width)


def head_slice(config: ModelConfig, position: int) -> slice:
    """Columns of the head that draw the token at `position`, from the hidden state at `position - 1`."""
    if segment_of(config, position) is Segment.IMAGE:
        return slice(config.text_vocab_size, config.vocab_size)
    return slice(0, config.text_vocab_size)


@dataclass(frozen=True)
class RowGroups:
    """How the rows of a decode step are ordered: left-text rows, then image rows, then right-text rows.

    Plain host numbers, so that a step has static shapes and needs no answer from the device. The extents are
    how many keys of the own segment are read, at least the largest position of the group counted within its
    segment plus one; a larger extent costs time and changes no result.
    """

    num_left: int = 0
    num_image: int = 0
    num_right: int = 0
    left_extent: int = 0
    right_extent: int = 0

    @property
    def num_rows(self) -> int:
        return self.num_left + self.num_image + self.num_right

    @classmethod
    def of(cls, config: ModelConfig, positions: Sequence[int]) -> "RowGroups":
        """Groups of rows at these positions; ValueError if they are not ordered by segment."""
        segments = [segment_of(config, position) for position in positions]
        if segments != sorted(segments):
            raise ValueError("rows of a decode step must be ordered by segment")
        lefts = [p for p, s in zip(positions, segments, strict=True) if s is Segment.LEFT_TEXT]
        rights = [p for p, s in zip(positions, segments, strict=True) if s is Segment.RIGHT_TEXT]
        return cls(
            num_left=len(lefts),
            num_image=len(segments) - len(lefts) - len(rights),
            num_right=len(rights),
            left_extent=max(lefts, default=-1) + 1,
            right_extent=max(rights, default=config.right_start - 1) + 1 - config.right_start,
        )
