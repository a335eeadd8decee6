"""The state of work in the engine: sequences that decode, and the groups that they belong to.

Positions and counts; no tensors and no policy. A group is one work item of one owner. The scheduler writes
all fields, but for those of progress, which `progress` writes.
"""

from collections import deque
from dataclasses import dataclass, field

from model.config import ModelConfig
from model.network.layout import Segment
from model.tasks import Ids
from workers.engine.slots import Tag
from workers.engine.work import Generate, Generated

MIN_FORCED_RUN = 4
"""Forced tokens in a row from which on one pass is faster than as many decode steps."""


@dataclass(eq=False)
class Sequence:
    """One sequence that decodes."""

    group: "GenerateGroup"
    candidate: int
    left: Ids
    """Ids at the first positions of the left slot."""
    left_slot: int
    slot: int
    position: int
    """Last position whose token is known; the next step reads it. Before the start: first − 1."""
    uncond: "Sequence | None" = None
    """The unconditional sequence that guidance mixes in; it takes the tokens of this one."""
    is_live: bool = True
    """False after it has left: tokens that are still drawn for it are dropped."""
    ids: list[int] = field(default_factory=list[int])
    """Texts: ids that came back so far, without the prompt's."""
    partials_due: int = 0
    """Progress: partial images that were launched; likewise sent."""
    partials_sent: int = 0

    @property
    def seed(self) -> int:
        return self.group.work.seeds[self.candidate]

    @property
    def target(self) -> Segment:
        return self.group.work.target

    @property
    def is_complete(self) -> bool:
        """No position is left to draw."""
        return self.position >= self.group.end - 1

    def forced_run(self, config: ModelConfig) -> int:
        """Return how many positions right after the known one hold forced codes."""
        codes = self.group.work.known_codes
        if not codes:
            return 0
        cell = self.position + 1 - config.image_start
        run = 0
        while cell + run < len(codes) and codes[cell + run] is not None:
            run += 1
        return run


@dataclass(eq=False)
class GenerateGroup:
    """A Generate in progress: candidates that wait, sequences that decode, candidates that are finished."""

    owner: str
    order: tuple[int, int]
    """(priority, arrival); lower goes first."""
    work: Generate
    config: ModelConfig
    body_prefix: Ids = field(init=False)
    """Known ids of the body before the first drawn one."""
    first: int = field(init=False)
    """First position to draw."""
    end: int = field(init=False)
    """One past the last position to draw."""
    waiting: deque[int] = field(init=False)
    active: list[Sequence] = field(init=False, default_factory=list[Sequence])
    finished: dict[int, Ids] = field(init=False, default_factory=dict[int, Ids])
    num_drawn: int = field(init=False, default=0)
    progress: int = field(init=False, default=0)
    """Progress: units that were last reported as done."""

    def __post_init__(self) -> None:
        config, work = self.config, self.work
        self.waiting = deque(range(len(work.seeds)))
        if work.target is Segment.IMAGE:
            self._plan_image()
        elif work.target is Segment.RIGHT_TEXT:
            self.body_prefix = work.image + work.right
            self.first = config.image_start + len(self.body_prefix)
            self.end = config.right_start + self._text_limit(config.right_text_length)
        else:
            self.body_prefix = ()
            self.first = len(work.left)
            self.end = self._text_limit(config.left_text_length)

    def _text_limit(self, region: int) -> int:
        limit = self.work.max_tokens
        return region if limit is None else min(limit, region)

    def _plan_image(self) -> None:
        start, codes = self.config.image_start, self.work.known_codes
        drawn = [cell for cell, code in enumerate(codes) if code is None]
        if not codes:
            drawn = [0, self.config.image_length - 1]
        self.body_prefix = tuple(code for code in codes[: drawn[0] if drawn else None] if code is not None)
        self.first = start + len(self.body_prefix)
        self.end = start + drawn[-1] + 1 if drawn else self.first

    @property
    def num_each(self) -> int:
        """Tokens that a candidate draws at most."""
        known = sum(code is not None for code in self.work.known_codes)
        return self.config.image_length - known if self.work.known_codes else self.end - self.first

    @property
    def has_guidance(self) -> bool:
        return self.work.guidance > 0

    @property
    def sequences_each(self) -> int:
        """Sequences that a candidate takes."""
        return 2 if self.has_guidance else 1

    @property
    def num_active(self) -> int:
        return len(self.active) * self.sequences_each

    @property
    def num_waiting(self) -> int:
        return len(self.waiting) * self.sequences_each

    @property
    def is_done(self) -> bool:
        return len(self.finished) == len(self.work.seeds)

    @property
    def needs_no_step(self) -> bool:
        """Nothing is drawn: the prompt fills the region, every code is known, or there are no seeds."""
        return self.first >= self.end or not self.work.seeds

    @property
    def prompt_ids(self) -> Ids:
        """Known ids of the target region (texts)."""
        return self.work.right if self.work.target is Segment.RIGHT_TEXT else self.work.left

    def left_tag(self, left: Ids) -> Tag:
        is_open = self.work.target is Segment.LEFT_TEXT
        return ("open" if is_open else "whole", left)

    def body_tag(self, left: Ids) -> Tag:
        return (left, self.body_prefix)

    def prompts(self) -> list[Ids]:
        """Left texts of the sequences of one candidate: the prompt, and with guidance the empty one."""
        return [self.work.left, self.work.uncond_left] if self.has_guidance else [self.work.left]

    def finish_without_steps(self) -> None:
        """Finish every candidate with the known ids."""
        known = self.prompt_ids
        if self.work.target is Segment.IMAGE:
            known = tuple(code for code in self.work.known_codes if code is not None)
        self.finished = dict.fromkeys(self.waiting, known)
        self.waiting.clear()

    def result(self) -> Generated:
        return Generated(tuple(self.finished[c] for c in range(len(self.work.seeds))), self.num_drawn)
