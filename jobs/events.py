"""What a waiting client hears of a job while it runs."""

import msgspec

from jobs.job import JobState


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """`done` of `total` steps of the phase; rows of a picture while drawing."""

    phase: str
    done: int
    total: int


class PartialImage(msgspec.Struct, frozen=True, tag="partial_image"):
    """Finished rows of candidate `index` decoded, the rest grey."""

    index: int
    partial_index: int
    data: bytes


class PartialText(msgspec.Struct, frozen=True, tag="partial_text"):
    """Text of candidate `index` so far."""

    index: int
    text: str


class StateChanged(msgspec.Struct, frozen=True, tag="state"):
    state: JobState
    reason: str | None = None


EventBody = Progress | PartialImage | PartialText | StateChanged


class Event(msgspec.Struct, frozen=True):
    """Something a waiting client wants to know. `id` orders the events of all jobs (a stream id)."""

    id: str
    job_id: str
    attempt: int
    body: EventBody
