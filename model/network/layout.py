"""Positions of a sequence: the segment of each, and the order of the sequences of a decode step.

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
    """Return the segment of `position`; ValueError outside the sequence."""
    if not 0 <= position < config.total_length:
        raise ValueError(f"Position {position} is outside a sequence of {config.total_length}.")
    if position < config.image_start:
        return Segment.LEFT_TEXT
    return Segment.IMAGE if position < config.right_start else Segment.RIGHT_TEXT


@dataclass(frozen=True)
class StepLayout:
    """The order of the sequences of a decode step: left text, then images, then right text.

    Host numbers, so that a step has static shapes and never waits for the device. The extents are how many
    keys of the own segment are read: at least the largest position within the segment plus one. A larger
    extent costs time and changes no result.
    """

    num_left: int = 0
    num_image: int = 0
    num_right: int = 0
    left_extent: int = 0
    right_extent: int = 0

    @classmethod
    def of(cls, config: ModelConfig, positions: Sequence[int]) -> "StepLayout":
        """Return the layout of sequences that read these positions; ValueError if they are not ordered."""
        segments = [segment_of(config, position) for position in positions]
        if segments != sorted(segments):
            raise ValueError("Sequences of a decode step must be ordered by segment.")
        lefts = [p for p, s in zip(positions, segments, strict=True) if s is Segment.LEFT_TEXT]
        rights = [p for p, s in zip(positions, segments, strict=True) if s is Segment.RIGHT_TEXT]
        return cls(
            num_left=len(lefts),
            num_image=len(segments) - len(lefts) - len(rights),
            num_right=len(rights),
            left_extent=max(lefts, default=-1) + 1,
            right_extent=max(rights, default=config.right_start - 1) + 1 - config.right_start,
        )

    @property
    def image(self) -> slice:
        """The image sequences."""
        return slice(self.num_left, self.num_left + self.num_image)

    @property
    def right(self) -> slice:
        """The right-text sequences."""
        return slice(self.num_left + self.num_image, None)
