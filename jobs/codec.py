"""Jobs, outcomes and events as bytes: MessagePack behind a two-byte envelope (kind, version). Never pickle.

Fields may be added with defaults without a new version; anything else needs one, and a reader for the old.
"""

import hashlib
from typing import Any, Final

import msgspec

from jobs.announcements import WorkerInfo
from jobs.errors import CodecError
from jobs.events import EventBody
from jobs.job import Job
from jobs.requests import Request
from jobs.results import Outcome

VERSION: Final = 1
_JOB, _OUTCOME, _EVENT, _WORKER = b"J", b"O", b"E", b"W"


def encode_job(job: Job) -> bytes:
    return _seal(_JOB, job)


def decode_job(data: bytes) -> Job:
    return _open(_JOB, data, Job)


def encode_outcome(outcome: Outcome) -> bytes:
    """Equal outcomes give equal bytes, so that a digest of them tells results apart."""
    return _seal(_OUTCOME, outcome)


def decode_outcome(data: bytes) -> Outcome:
    return _open(_OUTCOME, data, Outcome)


def encode_event_body(body: EventBody) -> bytes:
    return _seal(_EVENT, body)


def decode_event_body(data: bytes) -> EventBody:
    return _open(_EVENT, data, EventBody)


def encode_worker(info: WorkerInfo) -> bytes:
    return _seal(_WORKER, info)


def decode_worker(data: bytes) -> WorkerInfo:
    return _open(_WORKER, data, WorkerInfo)


def request_digest(request: Request) -> str:
    """SHA-256 of the encoded request: two requests with one digest ask for the same thing."""
    return digest(_seal(_JOB, request))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(kind: bytes, value: object) -> bytes:
    try:
        return kind + bytes((VERSION,)) + msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeEncodeError) as error:
        raise CodecError(f"this cannot be written down: {error}") from None


def _open(kind: bytes, data: bytes, expected: Any) -> Any:
    if len(data) < 2 or data[:1] != kind:
        raise CodecError("these bytes are not what was asked for")
    if data[1] != VERSION:
        raise CodecError(f"format version {data[1]} is unknown to this release, which reads {VERSION}")
    try:
        return msgspec.msgpack.decode(memoryview(data)[2:], type=expected)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(f"damaged bytes: {error}") from None
