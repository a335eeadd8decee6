"""A step that the backend has been given, and the results that are still to be read."""

from dataclasses import dataclass, field

from model.backends.base import DrawnTokens, Scores
from model.backends.host_copy import HostCopy, Mark
from workers.engine.score_group import ScoreChunk, ScoreGroup
from workers.engine.sequence import GenerateGroup, Sequence


@dataclass
class Launched:
    """One step of the engine."""

    groups: list[GenerateGroup | ScoreGroup] = field(default_factory=list[GenerateGroup | ScoreGroup])
    """Groups that made progress."""
    drawn: list[tuple[list[Sequence], DrawnTokens]] = field(
        default_factory=list[tuple[list[Sequence], DrawnTokens]]
    )
    """Text sequences, and what was drawn for them."""
    scores: list[tuple[ScoreChunk, Scores]] = field(default_factory=list[tuple[ScoreChunk, Scores]])
    complete: list[Sequence] = field(default_factory=list[Sequence])
    """Images that are complete."""
    partial: list[tuple[Sequence, int]] = field(default_factory=list[tuple[Sequence, int]])
    """Images to send in part, with the number of finished rows of cells."""
    codes: HostCopy | None = None
    """Codes of the complete images, then of the partial ones."""
    end: Mark | None = None
    """The end of the step on the device."""
