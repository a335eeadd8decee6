"""What runs in the next step: which rows decode, which prompts are computed, which chunk is scored.

Policy only: it moves counts, positions and slot numbers, and touches no tensor. The order among groups is the
caller's priority first, then who has the fewest rows running, then who came first.
"""

from dataclasses import dataclass, field
from itertools import repeat

from model.config import ModelConfig
from model.layout import Segment
from model.tasks import Ids
from workers.engine.score_group import Prefix, ScoreChunk, ScoreGroup
from workers.engine.sequence import MIN_JUMP, GenerateGroup, Row
from workers.engine.slots import Place, Slots

SPARE_LEFT_SLOTS = 4
"""Left slots beyond one a row, for scoring; so rows never wait for one."""

Group = GenerateGroup | ScoreGroup


@dataclass(frozen=True)
class Fill:
    """Ids to compute and to store, from the first position of the region on."""

    left_slot: int
    slot: int | None
    """None: the left text itself; else the body behind it."""
    ids: Ids


@dataclass(frozen=True)
class Copy:
    """The first `length` positions of one slot that go into another."""

    source: int
    target: int
    length: int


@dataclass(frozen=True)
class Jump:
    """Rows that read the same `length` positions at once, all but the first of them given codes."""

    rows: tuple[Row, ...]
    length: int


@dataclass
class StepPlan:
    """One step, in the order in which it is carried out."""

    decode: list[Row] = field(default_factory=list[Row])
    jumps: list[Jump] = field(default_factory=list[Jump])
    fills: list[Fill] = field(default_factory=list[Fill])
    left_copies: list[Copy] = field(default_factory=list[Copy])
    body_copies: list[Copy] = field(default_factory=list[Copy])
    admitted: list[Row] = field(default_factory=list[Row])
    chunks: list[ScoreChunk] = field(default_factory=list[ScoreChunk])
    lengths: tuple[int, ...] = ()
    """Tokens that each decoding row drew, as the runner tells; empty: one each."""

    @property
    def is_empty(self) -> bool:
        return not (self.decode or self.jumps or self.admitted or self.chunks)

    @property
    def fill_tokens(self) -> int:
        return sum(len(fill.ids) for fill in self.fills)


class Scheduler:
    """Owns groups, rows and slots."""

    def __init__(self, config: ModelConfig, num_slots: int, step_tokens: int) -> None:
        self._config = config
        self._step_tokens = step_tokens
        self.body_slots = Slots(num_slots)
        self.left_slots = Slots(num_slots + SPARE_LEFT_SLOTS)
        self._groups: dict[str, Group] = {}
        self._running: list[Row] = []

    @property
    def has_work(self) -> bool:
        return bool(self._groups)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Rows that still wait for a slot."""
        return sum(g.num_waiting for g in self._groups.values() if isinstance(g, GenerateGroup))

    def group_of(self, owner: str) -> Group | None:
        return self._groups.get(owner)

    def add(self, group: Group) -> None:
        if group.owner in self._groups:
            raise ValueError(f"{group.owner} has work in the engine already")
        self._groups[group.owner] = group

    def remove(self, owner: str) -> None:
        """Forget a group; its slots are free at once."""
        group = self._groups.pop(owner, None)
        if isinstance(group, GenerateGroup):
            for row in list(group.active):
                self._leave(row)
        elif group is not None:
            self._close_set(group)

    def finish(self, row: Row, ids: Ids) -> None:
        """The row's candidate is complete; its slots are free at once."""
        row.group.finished[row.candidate] = ids
        self._leave(row)

    def lose(self, plan: StepPlan) -> set[str]:
        """The prompts of this step could not be computed: forget their contents; owners that are hit."""
        for fill in plan.fills:
            if fill.slot is None:
                self.left_slots.forget(fill.left_slot)
            else:
                self.body_slots.forget(fill.slot)
        for copy in plan.left_copies:
            self.left_slots.forget(copy.target)
        for copy in plan.body_copies:
            self.body_slots.forget(copy.target)
        return {row.group.owner for row in plan.admitted} | {chunk.group.owner for chunk in plan.chunks}

    def schedule(self) -> StepPlan:
        """What the next step does. Positions move when `advance` is told that it ran."""
        plan = StepPlan()
        self._plan_running(plan)
        # Scoring goes first, for the one slot that it may need; it takes half of what others wait for too.
        budget = self._step_tokens
        self._plan_scoring(plan, budget // 2 if self._next_waiting() else budget)
        spent = sum(chunk.tokens for chunk in plan.chunks)
        self._admit(plan, max(budget - spent, budget // 2))
        return plan

    def advance(self, plan: StepPlan) -> list[Row]:
        """The step ran: every row of it knows more tokens. Returns these rows, without shadows."""
        for jump in plan.jumps:
            for row in jump.rows:
                _move(row, jump.length)
        for row, length in zip(plan.decode, plan.lengths or repeat(1), strict=False):
            _move(row, length)
        for row in plan.admitted:
            _move(row, 1)
        for chunk in plan.chunks:
            if not chunk.group.sets[0].waiting:
                self._close_set(chunk.group)
                chunk.group.sets.popleft()
        return [*plan.decode, *(row for jump in plan.jumps for row in jump.rows), *plan.admitted]

    # Rows -----------------------------------------------------------------------------------------------

    def _plan_running(self, plan: StepPlan) -> None:
        jumps: dict[tuple[int, int], list[Row]] = {}
        for row in self._running:
            if row.is_complete:
                continue
            run = row.given_run(self._config)
            if run >= MIN_JUMP:
                jumps.setdefault((row.position, run + 1), []).append(row)
            else:
                plan.decode.append(row)
        plan.jumps = [Jump(tuple(rows), length) for (_, length), rows in jumps.items()]
        plan.decode.sort(key=lambda row: row.target)

    def _admit(self, plan: StepPlan, budget: int) -> None:
        while True:
            group = self._next_waiting()
            if group is None or group.rows_each > self.body_slots.num_free:
                return
            cost = self._cost(group)
            if plan.fills and plan.fill_tokens + cost > budget:
                return
            self._start(group, plan)

    def _next_waiting(self) -> GenerateGroup | None:
        waiting = [g for g in self._groups.values() if isinstance(g, GenerateGroup) and g.waiting]
        return min(waiting, key=_fairness, default=None)

    def _cost(self, group: GenerateGroup) -> int:
        """Positions to compute before one more candidate can decode."""
        cost = 0
        for left in group.prompts():
            if not self.left_slots.holds(group.left_tag(left)):
                cost += len(left)
            if group.body_prefix and not self.body_slots.holds(group.body_tag(left)):
                cost += len(group.body_prefix)
        return cost

    def _start(self, group: GenerateGroup, plan: StepPlan) -> None:
        candidate = group.waiting.popleft()
        rows = [self._place(group, candidate, left, plan) for left in group.prompts()]
        row = rows[0]
        if group.has_guidance:
            row.shadow = rows[1]
        group.active.append(row)
        self._running.append(row)
        plan.admitted.append(row)

    def _place(self, group: GenerateGroup, candidate: int, left: Ids, plan: StepPlan) -> Row:
        tag = group.left_tag(left)
        is_open = group.work.target is Segment.LEFT_TEXT
        left_place = self.left_slots.take(tag) if is_open else self.left_slots.share(tag)
        _plan_left(left_place, left, plan)
        prefix = group.body_prefix
        place = self.body_slots.take(group.body_tag(left) if prefix else None)
        if not place.is_ready:
            if place.source is None:
                plan.fills.append(Fill(left_place.slot, place.slot, prefix))
            else:
                plan.body_copies.append(Copy(place.source, place.slot, len(prefix)))
        return Row(group, candidate, left, left_place.slot, place.slot, group.first - 1)

    def _leave(self, row: Row) -> None:
        row.is_live = False
        row.group.active.remove(row)
        self._running.remove(row)
        for part in (row, row.shadow):
            if part is not None:
                self.body_slots.release(part.slot)
                self.left_slots.release(part.left_slot)

    # Scoring --------------------------------------------------------------------------------------------

    def _plan_scoring(self, plan: StepPlan, budget: int) -> None:
        """One chunk of one group: the first in order that can have its slots."""
        scoring = [group for group in self._groups.values() if isinstance(group, ScoreGroup) and group.sets]
        for group in sorted(scoring, key=_scoring_fairness):
            if self._open_set(group, plan):
                plan.chunks.append(group.next_chunk(budget - plan.fill_tokens))
                return

    def _open_set(self, group: ScoreGroup, plan: StepPlan) -> bool:
        """Hold the slots of the set's shared prefix; False if none is free."""
        current = group.sets[0]
        if current.prefix is Prefix.NOTHING or group.left_slot is not None:
            return True
        needs_body = current.prefix is Prefix.LEFT_AND_IMAGE
        tag = (current.left, current.image)
        if needs_body and not self.body_slots.can_share(tag):
            return False
        holding = sum(isinstance(g, ScoreGroup) and g.left_slot is not None for g in self._groups.values())
        if holding >= SPARE_LEFT_SLOTS:
            return False
        left_place = self.left_slots.share(("whole", current.left))
        _plan_left(left_place, current.left, plan)
        group.left_slot = left_place.slot
        if needs_body:
            place = self.body_slots.share(tag)
            if not place.is_ready:
                plan.fills.append(Fill(left_place.slot, place.slot, current.image))
            group.slot = place.slot
        return True

    def _close_set(self, group: ScoreGroup) -> None:
        if group.left_slot is not None:
            self.left_slots.release(group.left_slot)
        if group.slot is not None:
            self.body_slots.release(group.slot)
        group.left_slot = group.slot = None


def _fairness(group: GenerateGroup) -> tuple[int, int, int]:
    priority, arrival = group.order
    return (priority, group.num_active, arrival)


def _scoring_fairness(group: ScoreGroup) -> tuple[int, int, int]:
    priority, arrival = group.order
    return (priority, group.num_chunks, arrival)


def _move(row: Row, positions: int) -> None:
    row.position += positions
    if row.shadow is not None:
        row.shadow.position += positions


def _plan_left(place: Place, left: Ids, plan: StepPlan) -> None:
    if place.is_ready:
        return
    if place.source is None:
        plan.fills.append(Fill(place.slot, None, left))
    else:
        plan.left_copies.append(Copy(place.source, place.slot, len(left)))
