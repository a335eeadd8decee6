"""Continuous batching: works go in, steps are taken, events come out.

Knows who waits for what; the scheduler decides, the runner computes. No Redis, no HTTP, no tasks. A fault of
one owner's work ends that work alone; what `step` raises is a fault of the engine itself.
"""

from collections import deque
from dataclasses import dataclass, field

import torch

from model.config import EOS_ID
from model.layout import Segment
from model.rudolph import Rudolph
from workers.engine.memory import build_what_fits
from workers.engine.pictures import CUDA_BATCH, PictureDesk
from workers.engine.progress import due_partials, partial_of, progress_of, streamed
from workers.engine.rehearsal import rehearse
from workers.engine.runner import Drawn, Runner
from workers.engine.scheduler import SPARE_LEFT_SLOTS, Scheduler, StepPlan
from workers.engine.score_group import ScoreChunk, ScoreGroup
from workers.engine.scorer import ChunkScores, score_chunk
from workers.engine.sequence import GenerateGroup, Row
from workers.engine.settings import EngineSettings
from workers.engine.statistics import Meter, StepStatistics
from workers.engine.transfer import FromDevice
from workers.engine.work import (
    DecodePictures,
    EncodePictures,
    EngineEvent,
    Score,
    Work,
    WorkDone,
    WorkFailed,
)

IDLE_WAIT_S = 0.05
"""Longest that a step waits when only the picture threads have something to do."""


@dataclass(frozen=True)
class StepOutput:
    events: list[EngineEvent]
    statistics: StepStatistics


@dataclass
class _Launched:
    """A step that the device has been given, and what is still to be read from it."""

    groups: list[GenerateGroup | ScoreGroup] = field(default_factory=list[GenerateGroup | ScoreGroup])
    """Those that came further."""
    drawn: list[Drawn] = field(default_factory=list[Drawn])
    scores: list[tuple[ScoreChunk, ChunkScores]] = field(default_factory=list[tuple[ScoreChunk, ChunkScores]])
    complete: list[Row] = field(default_factory=list[Row])
    """Pictures that are complete, and `partial` ones with their number of finished rows of cells."""
    partial: list[tuple[Row, int]] = field(default_factory=list[tuple[Row, int]])
    codes: FromDevice | None = None
    """Of the complete ones, then of the partial ones."""


class Engine:
    """One model on one device. Not thread-safe: one thread owns it."""

    def __init__(self, rudolph: Rudolph, settings: EngineSettings) -> None:
        self._config = rudolph.config
        step_tokens = settings.step_tokens(rudolph.device.type)
        rudolph.transformer.pack(int8=settings.int8_weights)

        def runner_of(num_slots: int) -> Runner:
            runner = Runner(rudolph.transformer, num_slots + SPARE_LEFT_SLOTS, num_slots)
            if rudolph.device.type == "cuda":
                rehearse(rudolph, runner.cache, step_tokens, CUDA_BATCH)
            return runner

        self._runner, self._num_slots = build_what_fits(runner_of, settings.num_slots)
        self._scheduler = Scheduler(rudolph.config, self._num_slots, step_tokens)
        self._transformer = rudolph.transformer
        self._pictures = PictureDesk(rudolph, settings.picture_threads)
        # On CUDA the next step is launched before the last one is read, so that the device never waits.
        self._lag = 1 if rudolph.device.type == "cuda" else 0
        self._in_flight: deque[_Launched] = deque()
        self._events: list[EngineEvent] = []
        self._arrivals = 0
        self._meter = Meter()

    @property
    def num_slots(self) -> int:
        """Rows that run at once; fewer than asked for where the device's memory holds no more."""
        return self._num_slots

    @property
    def has_work(self) -> bool:
        return bool(self._events) or self._scheduler.has_work or self._pictures.is_busy

    def rows_of(self, owner: str) -> int:
        """Rows that the owner's work holds or waits for."""
        group = self._scheduler.group_of(owner)
        return group.num_active + group.num_waiting if isinstance(group, GenerateGroup) else 0

    def take_seconds(self, owner: str) -> float:
        """The owner's share of the time that the engine has spent, and forget it."""
        return self._meter.take(owner)

    def submit(self, owner: str, work: Work, priority: int = 0) -> None:
        """Take a work item; lower priorities go first. An owner has one work item at a time.

        ValueError if the owner has one already.
        """
        self._arrivals += 1
        order = (priority, self._arrivals)
        if isinstance(work, EncodePictures | DecodePictures):
            self._pictures.submit(owner, work)
        elif isinstance(work, Score):
            self._scheduler.add(ScoreGroup(owner, order, work, self._config))
        else:
            group = GenerateGroup(owner, order, work, self._config)
            if group.needs_no_step:
                group.finish_without_steps()
                self._events.append(WorkDone(owner, group.result()))
            else:
                self._scheduler.add(group)

    def cancel(self, owner: str) -> None:
        """Forget the owner's work; its slots are free at once."""
        self._scheduler.remove(owner)
        self._pictures.cancel(owner)
        self._events = [event for event in self._events if event.owner != owner]
        self._meter.take(owner)

    def close(self) -> None:
        """Stop the threads. Works that are not finished are forgotten."""
        self._pictures.close()

    @torch.inference_mode()
    def step(self) -> StepOutput:
        """Decode every row by a token or more, start what fits, score a chunk, and tell what is finished."""
        plan = self._schedule()
        self._launch(plan)
        return self._collect(idle=plan.is_empty)

    def _schedule(self) -> StepPlan:
        self._meter.begin()
        with self._meter.timed("schedule"):
            return self._scheduler.schedule()

    def _launch(self, plan: StepPlan) -> None:
        launched = _Launched()
        decoding = [*plan.decode, *(row for jump in plan.jumps for row in jump.rows)]
        if decoding:
            with self._meter.timed("decode", [row.group.owner for row in decoding]):
                if plan.decode:
                    drawn = self._runner.decode(plan.decode)
                    plan.lengths = drawn.lengths
                    launched.drawn.append(drawn)
                launched.drawn += [self._runner.jump(jump) for jump in plan.jumps]
        try:
            self._launch_prompts(plan, launched)
        except Exception as error:  # these owners' works are lost; the running rows are not
            self._fail(self._scheduler.lose(plan), error)
            plan.admitted, plan.chunks = [], []
        try:
            self._launch_scoring(plan, launched)
        except Exception as error:  # likewise
            self._fail({chunk.group.owner for chunk in plan.chunks}, error)
            plan.chunks = []
        self._meter.rows = {
            "decode": len(decoding),
            "prefill": len(plan.admitted),
            "score": sum(len(chunk.indices) for chunk in plan.chunks),
        }
        moved = self._scheduler.advance(plan)
        self._meter.tokens = len(moved) + sum(plan.lengths) - len(plan.lengths)
        groups = {id(row.group): row.group for row in moved}
        launched.groups = [*groups.values(), *(chunk.group for chunk in plan.chunks)]
        pictures = [row for row in moved if row.target is Segment.IMAGE]
        launched.complete = [row for row in pictures if row.is_complete]
        launched.partial = due_partials(pictures)
        wanted = [*launched.complete, *(row for row, _ in launched.partial)]
        if wanted:
            launched.codes = self._runner.codes(wanted)
        if launched.groups:
            self._in_flight.append(launched)

    def _launch_prompts(self, plan: StepPlan, launched: _Launched) -> None:
        if not plan.admitted and not plan.fills:
            return
        owners = [row.group.owner for row in plan.admitted] or [chunk.group.owner for chunk in plan.chunks]
        with self._meter.timed("prefill", owners):
            self._runner.fill(plan.fills)
            self._runner.copy(plan.left_copies, plan.body_copies)
            if plan.admitted:
                launched.drawn.append(self._runner.start(plan.admitted))

    def _launch_scoring(self, plan: StepPlan, launched: _Launched) -> None:
        for chunk in plan.chunks:
            with self._meter.timed("score", [chunk.group.owner]):
                scores = score_chunk(self._transformer, self._runner.cache, chunk)
                launched.scores.append((chunk, scores))

    def _fail(self, owners: set[str], error: Exception) -> None:
        for owner in owners:
            self._scheduler.remove(owner)
            self._events.append(WorkFailed(owner, error))

    # Reading what came back -----------------------------------------------------------------------------

    def _collect(self, *, idle: bool) -> StepOutput:
        while len(self._in_flight) > (0 if idle else self._lag):
            self._read(self._in_flight.popleft())
        if idle and not self._events and self._pictures.is_busy:
            self._pictures.wait(IDLE_WAIT_S)
        events, seconds = self._pictures.poll()
        for owner, spent in seconds.items():
            self._meter.charge(owner, spent)
        self._meter.seconds["pictures"] = sum(seconds.values())
        events, self._events = self._events + events, []
        statistics = StepStatistics(
            rows=self._meter.rows,
            seconds=self._meter.seconds,
            slots_used=self._scheduler.body_slots.num_used,
            slots_total=self._num_slots,
            waiting_rows=self._scheduler.num_waiting,
            images=self._meter.images,
            tokens=self._meter.tokens,
        )
        return StepOutput(events, statistics)

    def _read(self, launched: _Launched) -> None:
        # On CUDA the wait for the device is the decoding's time.
        with self._meter.timed("decode"):
            for drawn in launched.drawn:
                for row, token in drawn.by_row():
                    if row.is_live:
                        self._read_token(row, token)
            if launched.codes is not None:
                self._read_pictures(launched, launched.codes.get().tolist())
        for chunk, scores in launched.scores:
            self._read_scores(chunk, scores)
        for group in launched.groups:
            self._tell(group)

    def _read_token(self, row: Row, token: int) -> None:
        group = row.group
        row.ids.append(token)
        group.num_drawn += 1
        if token == EOS_ID or len(row.ids) == group.num_each:
            self._scheduler.finish(row, (*group.prompt_ids, *row.ids))
        elif (event := streamed(row)) is not None:
            self._events.append(event)

    def _read_pictures(self, launched: _Launched, codes: list[list[int]]) -> None:
        complete = zip(launched.complete, codes, strict=False)
        partial = zip(launched.partial, codes[len(launched.complete) :], strict=True)
        for row, drawn in complete:
            if row.is_live:
                row.group.num_drawn += row.group.num_each
                self._meter.images += 1
                self._scheduler.finish(row, tuple(drawn))
        for (row, num_rows), drawn in partial:
            if row.is_live:
                self._pictures.submit(row.group.owner, partial_of(row, tuple(drawn), num_rows))

    def _read_scores(self, chunk: ScoreChunk, scores: ChunkScores) -> None:
        group = chunk.group
        indices = list(chunk.indices)
        pairs = (
            (group.ppl_left, scores.left),
            (group.ppl_image, scores.image),
            (group.ppl_right, scores.right),
        )
        for column, values in pairs:
            if column is not None and values is not None:
                column[indices] = values.get()
        group.num_done += len(indices)

    def _tell(self, group: GenerateGroup | ScoreGroup) -> None:
        if self._scheduler.group_of(group.owner) is not group:
            return
        event = progress_of(group)
        if event is not None:
            self._events.append(event)
        if group.is_done:
            self._scheduler.remove(group.owner)
            self._events.append(WorkDone(group.owner, group.result()))
