"""The engine: continuous batching of work items over one backend. Work goes in, steps run, events come out.

The scheduler decides, the backend computes. No Redis, no HTTP, no tasks. A fault of one owner's work ends
that work alone; an exception from `step` is a fault of the engine itself.
"""

from collections import deque
from dataclasses import dataclass

import torch

from model.backends import choose_backend
from model.backends.base import Backend, Traits
from model.network.layout import Segment
from model.rudolph import Rudolph
from workers.engine.batch import BatchBuilder
from workers.engine.image_codec import ImageCodecWorker
from workers.engine.launched import Launched
from workers.engine.progress import due_partials, partial_of, progress_of, streamed
from workers.engine.scheduler import SPARE_LEFT_SLOTS, ForcedRun, Scheduler, StepPlan
from workers.engine.score_group import ScoreGroup
from workers.engine.sequence import GenerateGroup, Sequence
from workers.engine.settings import EngineSettings
from workers.engine.statistics import Meter, StepStatistics
from workers.engine.work import (
    DecodeImages,
    EncodeImages,
    EngineEvent,
    Score,
    Work,
    WorkDone,
    WorkFailed,
)

IDLE_WAIT_S = 0.05
"""Longest wait of a step when only the image tokenizer has work."""


@dataclass(frozen=True)
class StepOutput:
    events: list[EngineEvent]
    statistics: StepStatistics


class Engine:
    """One model on one device. Not thread-safe: one thread owns it."""

    def __init__(self, rudolph: Rudolph, settings: EngineSettings, backend: Backend | None = None) -> None:
        """`backend`: None for the one that `choose_backend` returns."""
        self._config = rudolph.config
        self._backend = backend or choose_backend(rudolph, settings.weight_format)
        traits = self.traits
        step_tokens = settings.max_step_tokens or traits.step_tokens
        num_slots = settings.num_slots or traits.num_slots
        self._num_slots = self._backend.warmup(num_slots, SPARE_LEFT_SLOTS, step_tokens)
        self._scheduler = Scheduler(rudolph.config, self._num_slots, step_tokens)
        self._batches = BatchBuilder(rudolph.config)
        self._images = ImageCodecWorker(
            rudolph,
            settings.image_threads,
            batch=traits.image_batch,
            in_thread=traits.images_in_thread,
            context=self._backend.image_context,
            decode=self._backend.image_decoder(rudolph.image_tokenizer),
        )
        self._in_flight: deque[Launched] = deque()
        self._events: list[EngineEvent] = []
        self._arrivals = 0
        self._meter = Meter()

    @property
    def traits(self) -> Traits:
        """Traits of the backend."""
        return self._backend.traits

    @property
    def num_slots(self) -> int:
        """Number of sequences that run at once; smaller than the setting if memory is short."""
        return self._num_slots

    @property
    def has_work(self) -> bool:
        return bool(self._events) or self._scheduler.has_work or self._images.is_busy

    def memory(self) -> dict[str, int]:
        """Return the bytes of the device's memory by kind, as `Backend.memory` does."""
        return self._backend.memory()

    def sequences_of(self, owner: str) -> int:
        """Return the sequences that the owner's work runs or waits for."""
        group = self._scheduler.group_of(owner)
        return group.num_active + group.num_waiting if isinstance(group, GenerateGroup) else 0

    def take_seconds(self, owner: str) -> float:
        """Return the owner's share of the time that the engine has spent, and reset it."""
        return self._meter.take(owner)

    def submit(self, owner: str, work: Work, priority: int = 0) -> None:
        """Take a work item; lower priorities go first. An owner has one work item at a time.

        ValueError if the owner has one already.
        """
        self._arrivals += 1
        order = (priority, self._arrivals)
        if isinstance(work, EncodeImages | DecodeImages):
            self._images.submit(owner, work)
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
        """Drop the owner's work; its slots are free at once."""
        self._scheduler.remove(owner)
        self._images.cancel(owner)
        self._events = [event for event in self._events if event.owner != owner]
        self._meter.take(owner)

    def close(self) -> None:
        """Stop the threads. Work that is not finished is dropped."""
        self._images.close()

    @torch.inference_mode()
    def step(self) -> StepOutput:
        """Decode every sequence by a token or more, start what fits, score a chunk, return events."""
        plan = self._schedule()
        self._launch(plan)
        return self._collect(idle=plan.is_empty)

    def _schedule(self) -> StepPlan:
        self._meter.begin()
        with self._meter.timed("schedule"):
            return self._scheduler.schedule()

    # Launching ------------------------------------------------------------------------------------------

    def _launch(self, plan: StepPlan) -> None:
        launched = Launched()
        lengths = self._launch_decoding(plan, launched)
        try:
            self._launch_prompts(plan, launched)
        except Exception as error:  # these owners' works are lost; the running sequences are not
            self._fail(self._scheduler.invalidate(plan), error)
            plan.admitted, plan.chunks = [], []
        try:
            self._launch_scoring(plan, launched)
        except Exception as error:  # likewise
            self._fail({chunk.group.owner for chunk in plan.chunks}, error)
            plan.chunks = []
        self._meter.sequences = {
            "decode": len(plan.decoding),
            "prefill": len(plan.admitted),
            "score": sum(len(chunk.indices) for chunk in plan.chunks),
        }
        moved = self._scheduler.advance(plan, lengths)
        self._meter.tokens = len(moved) + sum(lengths) - len(lengths)
        groups = {id(sequence.group): sequence.group for sequence in moved}
        launched.groups = [*groups.values(), *(chunk.group for chunk in plan.chunks)]
        images = [sequence for sequence in moved if sequence.target is Segment.IMAGE]
        launched.complete = [sequence for sequence in images if sequence.is_complete]
        launched.partial = due_partials(images)
        due = [*launched.complete, *(sequence for sequence, _ in launched.partial)]
        if due:
            launched.codes = self._backend.codes([sequence.slot for sequence in due])
        if launched.groups:
            launched.end = self._backend.mark()
            self._in_flight.append(launched)

    def _launch_decoding(self, plan: StepPlan, launched: Launched) -> tuple[int, ...]:
        """Launch the running sequences; return how many tokens each of `plan.decode` drew."""
        if not plan.decoding:
            return ()
        lengths: tuple[int, ...] = ()
        with self._meter.timed("decode", [sequence.group.owner for sequence in plan.decoding]):
            if plan.decode:
                batch, ordered = self._batches.steady(plan.decode)
                drawn = self._backend.decode(batch)
                lengths = drawn.lengths
                launched.drawn.append((_texts_of(ordered), drawn))
            for run in list(plan.forced_runs):
                self._launch_forced(plan, run, launched)
        return lengths

    def _launch_forced(self, plan: StepPlan, run: ForcedRun, launched: Launched) -> None:
        batch, _ = self._batches.build(run.sequences)
        try:
            launched.drawn.append(([], self._backend.decode_forced(batch, run.length)))
        except Exception as error:  # a run allocates memory, as prompts do: only its owners' works are lost
            plan.forced_runs.remove(run)
            self._fail({sequence.group.owner for sequence in run.sequences}, error)

    def _launch_prompts(self, plan: StepPlan, launched: Launched) -> None:
        if not plan.admitted and not plan.prompts:
            return
        owners = [sequence.group.owner for sequence in plan.admitted]
        with self._meter.timed("prefill", owners or [chunk.group.owner for chunk in plan.chunks]):
            self._backend.prefill(plan.prompts)
            self._backend.copy(plan.left_copies, plan.body_copies)
            if plan.admitted:
                batch, ordered = self._batches.build(plan.admitted)
                known_codes = [sequence.group.work.known_codes for sequence in ordered]
                launched.drawn.append((_texts_of(ordered), self._backend.start(batch, known_codes)))

    def _launch_scoring(self, plan: StepPlan, launched: Launched) -> None:
        for chunk in plan.chunks:
            with self._meter.timed("score", [chunk.group.owner]):
                launched.scores.append((chunk, self._backend.score(chunk.batch)))

    def _fail(self, owners: set[str], error: Exception) -> None:
        for owner in owners:
            self._scheduler.remove(owner)
            self._events.append(WorkFailed(owner, error))

    # Reading results ------------------------------------------------------------------------------------

    def _collect(self, *, idle: bool) -> StepOutput:
        while len(self._in_flight) > (0 if idle else self.traits.steps_in_flight):
            self._read(self._in_flight.popleft())
        if idle and not self._events and self._images.is_busy:
            self._images.wait(IDLE_WAIT_S)
        events, seconds = self._images.poll()
        for owner, spent in seconds.items():
            self._meter.charge(owner, spent)
        self._meter.seconds["pictures"] = sum(seconds.values())
        events, self._events = self._events + events, []
        statistics = StepStatistics(
            sequences=self._meter.sequences,
            seconds=self._meter.seconds,
            slots_used=self._scheduler.body_slots.num_used,
            slots_total=self._num_slots,
            waiting_sequences=self._scheduler.num_waiting,
            images=self._meter.images,
            tokens=self._meter.tokens,
        )
        return StepOutput(events, statistics)

    def _read(self, launched: Launched) -> None:
        # A wait for the device counts as decoding.
        with self._meter.timed("decode"):
            # Even if nothing is read: a host far in front of the device would launch steps without later
            # requests.
            if launched.end is not None:
                launched.end.wait()
            for sequences, drawn in launched.drawn:
                if drawn.text_ids is not None:
                    for sequence, token in zip(sequences, drawn.text_ids.get().tolist(), strict=True):
                        self._read_token(sequence, token)
            if launched.codes is not None:
                self._read_images(launched, launched.codes.get().tolist())
        for chunk, scores in launched.scores:
            chunk.group.record(chunk, scores)
        for group in launched.groups:
            self._report(group)

    def _read_token(self, sequence: Sequence, token: int) -> None:
        if not sequence.is_live:
            return
        self._scheduler.record(sequence, token)
        if sequence.is_live and (event := streamed(sequence)) is not None:
            self._events.append(event)

    def _read_images(self, launched: Launched, codes: list[list[int]]) -> None:
        complete = zip(launched.complete, codes, strict=False)
        partial = zip(launched.partial, codes[len(launched.complete) :], strict=True)
        for sequence, drawn in complete:
            if sequence.is_live:
                self._meter.images += 1
                self._scheduler.record_image(sequence, tuple(drawn))
        for (sequence, num_rows), drawn in partial:
            if sequence.is_live:
                self._images.submit(sequence.group.owner, partial_of(sequence, tuple(drawn), num_rows))

    def _report(self, group: GenerateGroup | ScoreGroup) -> None:
        """Add the events of a group: its progress, and its result if it is done."""
        if self._scheduler.group_of(group.owner) is not group:
            return
        event = progress_of(group)
        if event is not None:
            self._events.append(event)
        if group.is_done:
            self._scheduler.remove(group.owner)
            self._events.append(WorkDone(group.owner, group.result()))


def _texts_of(sequences: tuple[Sequence, ...]) -> list[Sequence]:
    return [sequence for sequence in sequences if sequence.target is not Segment.IMAGE]
