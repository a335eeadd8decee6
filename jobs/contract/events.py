"""Events of a job, for clients that wait for it."""

import msgspec

from jobs.contract.job import JobState


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """`done` of `total` steps of the phase; while an image is drawn, rows of the image."""

    phase: str
    done: int
    total: int


class PartialImage(msgspec.Struct, frozen=True, tag="partial_image"):
    """An image file of candidate `index`: its finished rows decoded, the rest grey."""

    index: int
    partial_index: int
    data: bytes


class PartialText(msgspec.Struct, frozen=True, tag="partial_text"):
    """The text of candidate `index` so far."""

    index: int
    text: str
    continuation: str = ""
    """The part of `text` after the tokens of the prompt."""


class StateChanged(msgspec.Struct, frozen=True, tag="state"):
    state: JobState
    reason: str | None = None


EventBody = Progress | PartialImage | PartialText | StateChanged


class Event(msgspec.Struct, frozen=True):
    """An event with its id in the Redis stream, which orders the events of all jobs."""

    id: str
    job_id: str
    attempt: int
    body: EventBody
