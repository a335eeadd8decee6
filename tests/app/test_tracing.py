"""The API's spans: which requests have one, what of it reaches logs and jobs, and what does not change."""

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import httpx
import pytest

from tests.app.conftest import Running
from tests.telemetry.collector import Collector

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
DRAWING = {"prompt": "кот", "seed": 1}
Start = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(start_api: Start, collector: Collector) -> Iterator[httpx.Client]:
    with ExitStack() as stack:
        # The untraced server beside it must not see these.
        with pytest.MonkeyPatch.context() as environment:
            for name, value in collector.environment.items():
                environment.setenv(name, value)
            running = stack.enter_context(start_api())
        yield stack.enter_context(running.client())


def traceparent(trace_id: str = TRACE) -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{PARENT}-01"}


def lines_of(log: io.StringIO, request_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line.get("request_id") == request_id]


def test_span_and_log_line_of_a_request_share_the_client_s_trace(
    traced: httpx.Client, collector: Collector, log: io.StringIO
) -> None:
    headers = traceparent() | {"x-request-id": "traced-1"}
    assert traced.post("/v1/text2image", json=DRAWING, headers=headers).status_code == 200
    span = collector.wait_for(rudolph_request_id="traced-1")
    assert (span.name, span.kind, span.service) == ("POST /v1/text2image", "server", "rudolph-api")
    assert (span.trace_id, span.parent, span.failed) == (TRACE, PARENT, False)
    assert span.attributes["http.route"] == "/v1/text2image"
    assert span.attributes["http.response.status_code"] == 200
    (line,) = lines_of(log, "traced-1")
    assert line["trace_id"] == TRACE


@pytest.mark.parametrize(
    ("path", "prompt", "status", "name", "failed"),
    [
        ("/v1/text2image", "сбой", 500, "POST /v1/text2image", True),
        ("/v1/text2image", "неверно", 422, "POST /v1/text2image", False),
        ("/v1/nothing/4711", "кот", 404, "POST", False),
    ],
)
def test_only_the_server_s_own_faults_are_errors(
    traced: httpx.Client, collector: Collector, path: str, prompt: str, status: int, name: str, failed: bool
) -> None:
    headers = {"x-request-id": f"traced-{status}"}
    assert traced.post(path, json={"prompt": prompt}, headers=headers).status_code == status
    span = collector.wait_for(rudolph_request_id=f"traced-{status}")
    assert (span.name, span.failed) == (name, failed)
    assert span.attributes["http.response.status_code"] == status


def test_a_stream_s_span_lasts_until_its_last_event(traced: httpx.Client, collector: Collector) -> None:
    body = DRAWING | {"stream": True, "partial_images": 1}
    reply = traced.post("/v1/text2image", json=body, headers={"x-request-id": "traced-stream"})
    assert "event: " in reply.text
    # The small worker takes 0.2 s over a job with partial pictures.
    assert collector.wait_for(rudolph_request_id="traced-stream").seconds > 0.2


def test_probes_have_no_span(traced: httpx.Client, collector: Collector) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        traced.get(path, headers={"x-request-id": "probe"})
    traced.get("/v1/nothing", headers={"x-request-id": "after-the-probes"})
    collector.wait_for(rudolph_request_id="after-the-probes")
    assert not [span for span in collector.spans if span.attributes["rudolph.request.id"] == "probe"]


def test_a_traced_reply_is_the_untraced_one(traced: httpx.Client, http: httpx.Client) -> None:
    with_trace = traced.post("/v1/text2image", json=DRAWING, headers=traceparent())
    without = http.post("/v1/text2image", json=DRAWING, headers=traceparent())
    assert with_trace.json()["images"] == without.json()["images"]
    assert list(with_trace.headers) == list(without.headers)


def test_calls_to_redis_have_the_trace_of_their_request(traced: httpx.Client, http: httpx.Client) -> None:
    trace_id = "c" * 32
    assert traced.post("/v1/text2image", json=DRAWING, headers=traceparent(trace_id)).status_code == 200
    wanted = {"accept": "application/openmetrics-text"}
    exemplar = rf'rudolph_redis_call_seconds_bucket{{call="submit",le="\S+"}} \S+ # {{trace_id="{trace_id}"}}'
    assert re.search(exemplar, traced.get("/metrics", headers=wanted).text)
    assert http.post("/v1/text2image", json=DRAWING, headers=traceparent("d" * 32)).status_code == 200
    text = http.get("/metrics", headers=wanted).text
    assert 'rudolph_redis_call_seconds_count{call="submit"}' in text
    assert "# {trace_id" not in text


def test_repetitions_in_other_traces_find_the_same_job(traced: httpx.Client) -> None:
    replies = [
        traced.post(
            "/v1/jobs",
            json={"task": "text2image", "input": {"prompt": "кот"}},
            headers={"idempotency-key": "one-job", **traceparent(digit * 32)},
        )
        for digit in "ab"
    ]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert replies[0].json()["id"] == replies[1].json()["id"]


def test_an_untraced_request_has_no_trace_in_its_log_line(http: httpx.Client, log: io.StringIO) -> None:
    http.get("/v1/nothing", headers=traceparent() | {"x-request-id": "untraced-1"})
    (line,) = lines_of(log, "untraced-1")
    assert "trace_id" not in line
