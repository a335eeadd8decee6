"""The schedule: which sequences decode in the next step, which prompts are computed, which chunk is scored.

Policy only: counts, positions and slot numbers, no tensors. Groups are ordered by the caller's priority, then
by the number of their running sequences, then by arrival.
"""

from dataclasses import dataclass, field
from itertools import repeat

from model.backends.batches import Prompt, PromptCopy
from model.config import EOS_ID, ModelConfig
from model.network.layout import Segment
from model.tasks import Ids
from workers.engine.score_group import Prefix, ScoreChunk, ScoreGroup
from workers.engine.sequence import MIN_FORCED_RUN, GenerateGroup, Sequence
from workers.engine.slots import Assignment, Slots

SPARE_LEFT_SLOTS = 4
"""Left slots for scoring, in addition to one per sequence, so that sequences never wait for one."""

Group = GenerateGroup | ScoreGroup


@dataclass(frozen=True)
class ForcedRun:
    """Sequences that read the same `length` positions in one pass, all but the first of them forced codes."""

    sequences: tuple[Sequence, ...]
    length: int


@dataclass
class StepPlan:
    """One step, in the order in which it is carried out."""

    decode: list[Sequence] = field(default_factory=list[Sequence])
    forced_runs: list[ForcedRun] = field(default_factory=list[ForcedRun])
    prompts: list[Prompt] = field(default_factory=list[Prompt])
    left_copies: list[PromptCopy] = field(default_factory=list[PromptCopy])
    body_copies: list[PromptCopy] = field(default_factory=list[PromptCopy])
    admitted: list[Sequence] = field(default_factory=list[Sequence])
    chunks: list[ScoreChunk] = field(default_factory=list[ScoreChunk])

    @property
    def is_empty(self) -> bool:
        return not (self.decode or self.forced_runs or self.admitted or self.chunks)

    @property
    def decoding(self) -> list[Sequence]:
        """All sequences that draw, without those that start."""
        return [*self.decode, *(sequence for run in self.forced_runs for sequence in run.sequences)]

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt.ids) for prompt in self.prompts)


class Scheduler:
    """Owns groups, sequences and slots."""

    def __init__(self, config: ModelConfig, num_slots: int, step_tokens: int) -> None:
        self._config = config
        self._step_tokens = step_tokens
        self.body_slots = Slots(num_slots)
        self.left_slots = Slots(num_slots + SPARE_LEFT_SLOTS)
        self._groups: dict[str, Group] = {}
        self._running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        return bool(self._groups)

    @property
    def num_waiting(self) -> int:
        """Sequences that wait for a slot."""
        return sum(g.num_waiting for g in self._groups.values() if isinstance(g, GenerateGroup))

    def group_of(self, owner: str) -> Group | None:
        return self._groups.get(owner)

    def add(self, group: Group) -> None:
        if group.owner in self._groups:
            raise ValueError(f"{group.owner} has work in the engine already.")
        self._groups[group.owner] = group

    def remove(self, owner: str) -> None:
        """Drop a group and release its slots."""
        group = self._groups.pop(owner, None)
        if isinstance(group, GenerateGroup):
            for sequence in list(group.active):
                self._release(sequence)
        elif group is not None:
            self._close_set(group)

    def record(self, sequence: Sequence, token: int) -> None:
        """Record a drawn text token; the sequence is finished at eos or at its limit."""
        group = sequence.group
        sequence.ids.append(token)
        group.num_drawn += 1
        if token == EOS_ID or len(sequence.ids) == group.num_each:
            self._finish(sequence, (*group.prompt_ids, *sequence.ids))

    def record_image(self, sequence: Sequence, codes: Ids) -> None:
        """Record the codes of a complete image; the sequence is finished."""
        sequence.group.num_drawn += sequence.group.num_each
        self._finish(sequence, codes)

    def invalidate(self, plan: StepPlan) -> set[str]:
        """Drop the contents of prompts that could not be computed; return the owners that need them."""
        for prompt in plan.prompts:
            if prompt.slot is None:
                self.left_slots.invalidate(prompt.left_slot)
            else:
                self.body_slots.invalidate(prompt.slot)
        for copy in plan.left_copies:
            self.left_slots.invalidate(copy.target)
        for copy in plan.body_copies:
            self.body_slots.invalidate(copy.target)
        owners = {sequence.group.owner for sequence in plan.admitted}
        return owners | {chunk.group.owner for chunk in plan.chunks}

    def schedule(self) -> StepPlan:
        """Return what the next step does. Positions change in `advance`, when it has run."""
        plan = StepPlan()
        self._plan_running(plan)
        # Scoring is planned first, for the one slot that it may need; it takes half of what others wait for.
        budget = self._step_tokens
        self._plan_scoring(plan, budget // 2 if self._next_waiting() else budget)
        spent = sum(chunk.tokens for chunk in plan.chunks)
        self._admit(plan, max(budget - spent, budget // 2))
        return plan

    def advance(self, plan: StepPlan, lengths: tuple[int, ...] = ()) -> list[Sequence]:
        """Advance the sequences of a step that ran; return them, without unconditional ones.

        `lengths`: tokens that each decoding sequence drew; empty: one each.
        """
        for run in plan.forced_runs:
            for sequence in run.sequences:
                _advance(sequence, run.length)
        for sequence, length in zip(plan.decode, lengths or repeat(1), strict=False):
            _advance(sequence, length)
        for sequence in plan.admitted:
            _advance(sequence, 1)
        for chunk in plan.chunks:
            if not chunk.group.sets[0].waiting:
                self._close_set(chunk.group)
                chunk.group.sets.popleft()
        return [*plan.decoding, *plan.admitted]

    # Sequences ------------------------------------------------------------------------------------------

    def _plan_running(self, plan: StepPlan) -> None:
        runs: dict[tuple[int, int], list[Sequence]] = {}
        for sequence in self._running:
            if sequence.is_complete:
                continue
            run = sequence.forced_run(self._config)
            if run >= MIN_FORCED_RUN:
                runs.setdefault((sequence.position, run + 1), []).append(sequence)
            else:
                plan.decode.append(sequence)
        plan.forced_runs = [ForcedRun(tuple(members), length) for (_, length), members in runs.items()]
        plan.decode.sort(key=lambda sequence: sequence.target)

    def _admit(self, plan: StepPlan, budget: int) -> None:
        while True:
            group = self._next_waiting()
            if group is None or group.sequences_each > self.body_slots.num_free:
                return
            cost = self._cost(group)
            if plan.prompts and plan.prompt_tokens + cost > budget:
                return
            self._start(group, plan)

    def _next_waiting(self) -> GenerateGroup | None:
        waiting = [g for g in self._groups.values() if isinstance(g, GenerateGroup) and g.waiting]
        return min(waiting, key=_fairness, default=None)

    def _cost(self, group: GenerateGroup) -> int:
        """Return the positions to compute before one more candidate can decode."""
        cost = 0
        for left in group.prompts():
            if not self.left_slots.holds(group.left_tag(left)):
                cost += len(left)
            if group.body_prefix and not self.body_slots.holds(group.body_tag(left)):
                cost += len(group.body_prefix)
        return cost

    def _start(self, group: GenerateGroup, plan: StepPlan) -> None:
        candidate = group.waiting.popleft()
        sequences = [self._assign(group, candidate, left, plan) for left in group.prompts()]
        sequence = sequences[0]
        if group.has_guidance:
            sequence.uncond = sequences[1]
        group.active.append(sequence)
        self._running.append(sequence)
        plan.admitted.append(sequence)

    def _assign(self, group: GenerateGroup, candidate: int, left: Ids, plan: StepPlan) -> Sequence:
        tag = group.left_tag(left)
        is_open = group.work.target is Segment.LEFT_TEXT
        left_slot = self.left_slots.take(tag) if is_open else self.left_slots.share(tag)
        _plan_left(left_slot, left, plan)
        prefix = group.body_prefix
        body = self.body_slots.take(group.body_tag(left) if prefix else None)
        if not body.is_ready:
            if body.source is None:
                plan.prompts.append(Prompt(left_slot.slot, body.slot, prefix))
            else:
                plan.body_copies.append(PromptCopy(body.source, body.slot, len(prefix)))
        return Sequence(group, candidate, left, left_slot.slot, body.slot, group.first - 1)

    def _finish(self, sequence: Sequence, ids: Ids) -> None:
        sequence.group.finished[sequence.candidate] = ids
        self._release(sequence)

    def _release(self, sequence: Sequence) -> None:
        """Remove a sequence; its slots are free at once."""
        sequence.is_live = False
        sequence.group.active.remove(sequence)
        self._running.remove(sequence)
        for part in (sequence, sequence.uncond):
            if part is not None:
                self.body_slots.release(part.slot)
                self.left_slots.release(part.left_slot)

    # Scoring --------------------------------------------------------------------------------------------

    def _plan_scoring(self, plan: StepPlan, budget: int) -> None:
        """Plan one chunk of the first group in order that can have its slots."""
        scoring = [group for group in self._groups.values() if isinstance(group, ScoreGroup) and group.sets]
        for group in sorted(scoring, key=_scoring_fairness):
            if self._open_set(group, plan):
                plan.chunks.append(group.next_chunk(budget - plan.prompt_tokens))
                return

    def _open_set(self, group: ScoreGroup, plan: StepPlan) -> bool:
        """Take the slots of the set's shared prefix; return False if none is free."""
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
        left_slot = self.left_slots.share(("whole", current.left))
        _plan_left(left_slot, current.left, plan)
        group.left_slot = left_slot.slot
        if needs_body:
            body = self.body_slots.share(tag)
            if not body.is_ready:
                plan.prompts.append(Prompt(left_slot.slot, body.slot, current.image))
            group.slot = body.slot
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


def _advance(sequence: Sequence, positions: int) -> None:
    sequence.position += positions
    if sequence.uncond is not None:
        sequence.uncond.position += positions


def _plan_left(left_slot: Assignment, left: Ids, plan: StepPlan) -> None:
    if left_slot.is_ready:
        return
    if left_slot.source is None:
        plan.prompts.append(Prompt(left_slot.slot, None, left))
    else:
        plan.left_copies.append(PromptCopy(left_slot.source, left_slot.slot, len(left)))
