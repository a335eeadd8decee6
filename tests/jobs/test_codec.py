"""Bytes of jobs and outcomes: what goes in comes out, and strangers are refused."""

import pickle

import msgspec
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from jobs.contract import codec
from jobs.contract.errors import CodecError
from jobs.contract.events import PartialImage, Progress, StateChanged
from jobs.contract.job import Job, JobState
from jobs.contract.requests import (
    ClassifyRequest,
    Codes,
    ImagePrompt,
    RankImagesRequest,
    Request,
    Task,
    Text2ImageRequest,
    Text2TextRequest,
)
from jobs.contract.results import GeneratedImage, ImagesResult, JobFailure
from tests.support.sample_jobs import make_job, make_result, make_worker

requests = st.one_of(
    st.builds(Text2TextRequest),
    st.builds(Text2ImageRequest, image_prompt=st.one_of(st.none(), st.builds(ImagePrompt))),
    st.builds(
        RankImagesRequest,
        images=st.lists(st.one_of(st.binary(), st.builds(Codes)), max_size=3).map(tuple),
    ),
    st.builds(ClassifyRequest),
)


@given(requests, st.sampled_from(Task))
def test_every_job_survives_the_codec(request: Request, task: Task) -> None:
    job = Job(id="a", task=task, request=request)
    try:
        data = codec.encode_job(job)
    except CodecError:
        reject()  # integers beyond 64 bits, lone surrogates
    assert codec.decode_job(data) == job


def test_images_stay_raw_bytes() -> None:
    picture = bytes(range(256)) * 4
    result = ImagesResult((GeneratedImage(picture, seed=1),))
    data = codec.encode_outcome(result)
    assert picture in data
    assert codec.decode_outcome(data) == result


@pytest.mark.parametrize(
    "body",
    [Progress("decode", 1, 2), PartialImage(0, 1, b"png"), StateChanged(JobState.DEAD, "worker_crashed")],
)
def test_event_bodies_survive_the_codec(body: object) -> None:
    assert codec.decode_event_body(codec.encode_event_body(body)) == body  # type: ignore[arg-type]


def test_worker_survives_the_codec() -> None:
    assert codec.decode_worker(codec.encode_worker(make_worker("w"))) == make_worker("w")


def test_unknown_version_is_refused() -> None:
    data = bytearray(codec.encode_job(make_job()))
    data[1] += 1
    with pytest.raises(CodecError, match="version 2"):
        codec.decode_job(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"J", b"O\x01\x80", b"J\x01", b"J\x01\xc1", pickle.dumps(make_job()), b"J\x01\x80"]
)
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode_job(data)


@given(st.binary(max_size=64))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode_outcome(b"O\x01\xc1" + data)


@pytest.mark.parametrize("request_", [Text2TextRequest("\ud800", seed=1), Text2TextRequest("а", seed=2**70)])
def test_values_that_no_format_holds_are_refused(request_: Request) -> None:
    with pytest.raises(CodecError):
        codec.encode_job(Job(id="a", task=Task.TEXT2TEXT, request=request_))


def test_outcome_of_one_kind_is_not_read_as_another() -> None:
    with pytest.raises(CodecError):
        codec.decode_job(codec.encode_outcome(make_result()))


def test_newer_fields_are_ignored_by_this_release() -> None:
    known = msgspec.msgpack.decode(codec.encode_outcome(JobFailure("a", "b"))[2:])
    data = b"O\x01" + msgspec.msgpack.encode({**known, "advice": "c"})
    assert codec.decode_outcome(data) == JobFailure("a", "b")


def test_different_requests_have_different_digests() -> None:
    same = codec.request_digest(Text2TextRequest("а", seed=1))
    assert same == codec.request_digest(Text2TextRequest("а", seed=1))
    assert same != codec.request_digest(Text2TextRequest("а", seed=2))
    assert same != codec.request_digest(Text2TextRequest("б", seed=1))


class JobOfTheReleaseBefore(msgspec.Struct, frozen=True):
    """What release 0.1.0 read and wrote, before jobs carried a trace."""

    id: str
    task: Task
    request: Request
    tenant: str = "default"
    priority: int = 0
    deadline_s: float | None = None
    idempotency_key: str | None = None
    synchronous: bool = True
    rows: int = 1
    model_revision: str | None = None
    digest: str | None = None


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_traced_job_is_read_by_the_release_before_and_its_job_by_this_one() -> None:
    data = codec.encode_job(make_job(id="a", trace=TRACEPARENT, num_sequences=3))
    assert TRACEPARENT.encode() in data
    assert codec.decode_job(data).trace == TRACEPARENT
    old = msgspec.msgpack.decode(data[2:], type=JobOfTheReleaseBefore)
    assert (old.id, old.rows, old.request) == ("a", 3, make_job().request)
    written_by_old = data[:2] + msgspec.msgpack.encode(old)
    assert TRACEPARENT.encode() not in written_by_old
    assert codec.decode_job(written_by_old) == make_job(id="a", num_sequences=3)
