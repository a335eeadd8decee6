"""What is on its way through the engine: rows that decode, and the groups they belong to.

Knows positions and counts; no tensors and no policy. A group is one work item of one owner.
"""

from collections import deque
from dataclasses import dataclass, field

from model.config import ModelConfig
from model.layout import Segment
from model.tasks import Ids, TextSlice
from workers.engine.slots import Tag
from workers.engine.work import Generate, Generated, Sampling

MIN_JUMP = 4
"""Given tokens in a row from which on one prefill beats as many decode steps."""


@dataclass(eq=False)
class Row:
    """One sequence that decodes. The scheduler owns all fields; others read."""

    group: "GenerateGroup"
    candidate: int
    left: Ids
    """Ids at the first positions of the left slot."""
    left_slot: int
    slot: int
    position: int
    """Last position whose token is known; the next step reads it. Before the start: first − 1."""
    shadow: "Row | None" = None
    """The unprompted row that guidance mixes in; it takes the tokens of this one."""
    is_live: bool = True
    """False once it has left: what is still drawn for it is void."""
    ids: list[int] = field(default_factory=list[int])
    """Texts: ids that came back so far, the prompt's not included."""
    partials_due: int = 0
    partials_sent: int = 0

    @property
    def seed(self) -> int:
        return self.group.work.seeds[self.candidate]

    @property
    def target(self) -> Segment:
        return self.group.work.target

    @property
    def sampling(self) -> Sampling:
        return self.group.work.sampling

    @property
    def text_slice(self) -> TextSlice:
        slice_ = self.group.work.text_slice
        if slice_ is None:
            raise ValueError("a text row needs a text slice")
        return slice_

    @property
    def is_complete(self) -> bool:
        """No position is left to draw."""
        return self.position >= self.group.end - 1

    def given_run(self, config: ModelConfig) -> int:
        """How many positions right after the known one hold given codes."""
        kept = self.group.work.kept
        if not kept:
            return 0
        cell = self.position + 1 - config.image_start
        run = 0
        while cell + run < len(kept) and kept[cell + run] is not None:
            run += 1
        return run


@dataclass(eq=False)
class GenerateGroup:
    """A Generate on its way: candidates that wait, rows that decode, texts and pictures that are finished."""

    owner: str
    order: tuple[int, int]
    """(priority, arrival); lower goes first."""
    work: Generate
    config: ModelConfig
    body_prefix: Ids = field(init=False)
    """Ids of the body that are given before the first drawn one."""
    first: int = field(init=False)
    """First position to draw."""
    end: int = field(init=False)
    """One behind the last position to draw."""
    waiting: deque[int] = field(init=False)
    active: list[Row] = field(init=False, default_factory=list["Row"])
    finished: dict[int, Ids] = field(init=False, default_factory=dict[int, Ids])
    num_drawn: int = field(init=False, default=0)
    progress: int = field(init=False, default=0)
    """Units that were last reported as done."""

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
        start, kept = self.config.image_start, self.work.kept
        drawn = [cell for cell, code in enumerate(kept) if code is None]
        if not kept:
            drawn = [0, self.config.image_length - 1]
        self.body_prefix = tuple(code for code in kept[: drawn[0] if drawn else None] if code is not None)
        self.first = start + len(self.body_prefix)
        self.end = start + drawn[-1] + 1 if drawn else self.first

    @property
    def num_each(self) -> int:
        """Tokens that a candidate draws at most."""
        given = sum(code is not None for code in self.work.kept)
        return self.config.image_length - given if self.work.kept else self.end - self.first

    @property
    def has_guidance(self) -> bool:
        return self.work.guidance > 0

    @property
    def rows_each(self) -> int:
        """Rows that a candidate takes."""
        return 2 if self.has_guidance else 1

    @property
    def num_active(self) -> int:
        return len(self.active) * self.rows_each

    @property
    def num_waiting(self) -> int:
        return len(self.waiting) * self.rows_each

    @property
    def is_done(self) -> bool:
        return len(self.finished) == len(self.work.seeds)

    @property
    def needs_no_step(self) -> bool:
        """Nothing is to be drawn: the prompt fills the region, every cell is kept, or nobody asks."""
        return self.first >= self.end or not self.work.seeds

    @property
    def prompt_ids(self) -> Ids:
        """Ids of the target region that are given from the start (texts)."""
        return self.work.right if self.work.target is Segment.RIGHT_TEXT else self.work.left

    def left_tag(self, left: Ids) -> Tag:
        is_open = self.work.target is Segment.LEFT_TEXT
        return ("open" if is_open else "whole", left)

    def body_tag(self, left: Ids) -> Tag:
        return (left, self.body_prefix)

    def prompts(self) -> list[Ids]:
        """Left texts of the rows of one candidate: the prompt, and with guidance the empty one."""
        return [self.work.left, self.work.unprompted_left] if self.has_guidance else [self.work.left]

    def finish_without_steps(self) -> None:
        """Every candidate is what was given."""
        given = self.prompt_ids
        if self.work.target is Segment.IMAGE:
            given = tuple(code for code in self.work.kept if code is not None)
        self.finished = dict.fromkeys(self.waiting, given)
        self.waiting.clear()

    def result(self) -> Generated:
        return Generated(tuple(self.finished[c] for c in range(len(self.work.seeds))), self.num_drawn)
