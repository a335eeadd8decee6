"""Encodes jobs, outcomes, events and heartbeats: two bytes (kind, version), then MessagePack. Never pickle.

A field with a default may be added without a new version. Any other change needs one, and a reader for the
old version.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from jobs.contract.errors import CodecError
from jobs.contract.events import EventBody
from jobs.contract.job import Job
from jobs.contract.requests import Request
from jobs.contract.results import Outcome
from jobs.contract.worker_info import WorkerInfo

VERSION: Final = 1
_JOB, _OUTCOME, _EVENT, _WORKER = b"J", b"O", b"E", b"W"
_NAMES: Final = {_JOB: "a job", _OUTCOME: "an outcome", _EVENT: "an event", _WORKER: "a heartbeat"}


def encode_job(job: Job) -> bytes:
    return _seal(_JOB, job)


def decode_job(data: bytes) -> Job:
    return _open(_JOB, data, Job)


def encode_outcome(outcome: Outcome) -> bytes:
    """Encode an outcome. Equal outcomes give equal bytes, so their digests can be compared."""
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


def request_digest(request: Request, restated: Sequence[str] = ()) -> str:
    """Return the SHA-256 of the encoded request, by which idempotent retries are recognised.

    `restated`: settings that the client sent although they equal the published default. They are part of the
    digest, because a client that omits them asks for the model's own value.
    """
    return digest(_seal(_JOB, request) + "".join(f"\0{name}" for name in restated).encode())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(kind: bytes, value: object) -> bytes:
    try:
        return kind + bytes((VERSION,)) + msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeEncodeError) as error:
        raise CodecError(f"A {type(value).__name__} cannot be encoded: {error}.") from None


def _open(kind: bytes, data: bytes, expected: Any) -> Any:
    if len(data) < 2 or data[:1] != kind:
        raise CodecError(f"The stored value is not {_NAMES[kind]}.")
    if data[1] != VERSION:
        raise CodecError(
            f"The stored value is {_NAMES[kind]} in format version {data[1]}; this release reads {VERSION}. "
            "Upgrade this process."
        )
    try:
        return msgspec.msgpack.decode(memoryview(data)[2:], type=expected)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(f"The stored value is not a valid message: {error}.") from None
