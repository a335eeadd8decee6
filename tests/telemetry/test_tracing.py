"""When a process traces, what its spans carry, and that no caller waits for a collector."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.tracing import Tracer, open_tracer
from tests.telemetry.collector import Collector

ROOT = Path(__file__).resolve().parents[2]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
OPEN = """
import os, sys
from telemetry.logging import configure_logging
from telemetry.tracing import open_tracer
configure_logging(json=True)
open_tracer(os.environ, "rudolph-test").close()
print(*sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def opened(environment: dict[str, str], before: str = "") -> subprocess.CompletedProcess[str]:
    """A process of its own that opens a tracer; it prints OpenTelemetry's modules."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", before + OPEN]
    return subprocess.run(
        command, cwd=ROOT, env=clean | environment, check=True, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def tracer(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracer]:
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    running = open_tracer(os.environ, "rudolph-test", worker="w-1")
    yield running
    running.close()


def attempt(tracer: Tracer, traceparent: str | None = TRACEPARENT, job_id: str = "job_1"):
    return tracer.attempt(job_id, "text2image", 2, num_sequences=3, queued_s=0.5, traceparent=traceparent)


@pytest.mark.parametrize(
    ("environment", "loads"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
    ],
)
def test_the_sdk_is_loaded_only_if_an_endpoint_is_named(environment: dict[str, str], loads: bool) -> None:
    modules = opened(environment).stdout.split()
    assert ("opentelemetry.sdk.trace" in modules) is loads
    assert any(name.startswith("opentelemetry.exporter") for name in modules) is loads


@pytest.mark.parametrize("missing", ["opentelemetry.sdk", "opentelemetry.exporter"])
def test_missing_packages_are_one_line_that_names_the_extra(missing: str) -> None:
    reply = opened(ENDPOINT, before=f"import sys; sys.modules[{missing!r}] = None\n")
    (line,) = reply.stderr.splitlines()
    assert '"level": "error"' in line
    assert "pip install -e '.[tracing]'" in line
    assert opened({}, before=f"import sys; sys.modules[{missing!r}] = None\n").stderr == ""


def test_a_wrong_value_is_one_line_too() -> None:
    (line,) = opened(ENDPOINT | {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}).stderr.splitlines()
    assert '"level": "error"' in line
    assert "max_queue_size must be a positive integer" in line


def test_a_request_continues_its_client_s_trace(tracer: Tracer, collector: Collector) -> None:
    span = tracer.request("POST", {"traceparent": TRACEPARENT}, "r-1")
    assert span.log_fields == {"trace_id": TRACE}
    span.end("/v1/jobs/{job_id}", 404)
    received = collector.wait_for(trace_id=TRACE)
    assert span.traceparent == f"00-{TRACE}-{received.span_id}-01"
    assert (received.name, received.kind, received.parent) == ("POST /v1/jobs/{job_id}", "server", PARENT)
    assert not received.failed
    assert received.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/jobs/{job_id}",
        "http.response.status_code": 404,
        "rudolph.request.id": "r-1",
        "rudolph.worker": "w-1",
    }


@pytest.mark.parametrize("traceparent", ["", "00-nonsense", f"00-{'0' * 32}-{PARENT}-01", "я" * 9000])
def test_what_is_no_traceparent_begins_a_trace(
    tracer: Tracer, collector: Collector, traceparent: str
) -> None:
    tracer.request("GET", {"traceparent": traceparent}, "r-2").end(None, 404)
    received = collector.wait_for(rudolph_request_id="r-2")
    assert (received.name, received.parent) == ("GET", "")
    assert "http.route" not in received.attributes


@pytest.mark.parametrize(("status", "fault", "kind"), [(503, None, "503"), (200, "KeyError", "KeyError")])
def test_a_fault_of_the_server_is_an_error(
    tracer: Tracer, collector: Collector, status: int, fault: str | None, kind: str
) -> None:
    tracer.request("GET", {}, "r-3").end("/", status, fault)
    assert collector.wait_for(failed=True).attributes["error.type"] == kind


def test_an_attempt_is_a_child_with_all_that_is_known_of_it(tracer: Tracer, collector: Collector) -> None:
    span = attempt(tracer)
    assert span.log_fields == {"trace_id": TRACE}
    span.first_partial()
    span.end("succeeded", compute_s=0.25)
    received = collector.wait_for(name="text2image")
    assert (received.kind, received.trace_id, received.parent) == ("consumer", TRACE, PARENT)
    assert (received.events, received.failed) == (["first_partial"], False)
    assert received.attributes == {
        "rudolph.task": "text2image",
        "rudolph.job.id": "job_1",
        "rudolph.job.attempt": 2,
        "rudolph.job.rows": 3,
        "rudolph.job.queue_seconds": 0.5,
        "rudolph.job.compute_seconds": 0.25,
        "rudolph.job.outcome": "succeeded",
        "rudolph.worker": "w-1",
    }


@pytest.mark.parametrize(
    ("opt_in", "is_described"),
    [
        ("", False),
        ("http", False),
        ("gen_ai_latest_experimental", True),
        ("http/dup, gen_ai_latest_experimental", True),
    ],
)
def test_attributes_for_generative_ai_are_opt_in(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, opt_in: str, is_described: bool
) -> None:
    variables = collector.environment | {"OTEL_SEMCONV_STABILITY_OPT_IN": opt_in}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    asked: list[str] = []

    def describe(name: str) -> dict[str, str]:
        asked.append(name)
        return {f"gen_ai.{name}": "set"}

    tracer = open_tracer(os.environ, "rudolph-test")
    span = tracer.attempt(
        "job_1",
        "text2image",
        1,
        num_sequences=1,
        queued_s=0.5,
        traceparent=None,
        gen_ai=lambda: describe("request"),
    )
    span.end("succeeded", gen_ai=lambda: describe("response"))
    tracer.close()
    (received,) = collector.spans
    found = [name for name in received.attributes if name.startswith("gen_ai.")]
    assert found == (["gen_ai.request", "gen_ai.response"] if is_described else [])
    assert asked == (["request", "response"] if is_described else [])


def test_a_failed_attempt_is_an_error_and_one_without_a_request_a_trace_of_its_own(
    tracer: Tracer, collector: Collector
) -> None:
    attempt(tracer, None).end("failed", compute_s=0.0, failure="invalid_text")
    received = collector.wait_for(failed=True)
    assert received.attributes["error.type"] == "invalid_text"
    assert received.parent == ""


def test_a_client_that_samples_nothing_is_followed_by_both_sides(
    tracer: Tracer, collector: Collector
) -> None:
    span = tracer.request("GET", {"traceparent": f"00-{TRACE}-{PARENT}-00"}, "r-4")
    assert span.traceparent is not None
    assert span.traceparent.endswith("-00")
    attempt(tracer, span.traceparent).end("succeeded")
    span.end("/", 200)
    tracer.request("GET", {}, "r-5").end("/", 200)
    tracer.close()
    assert [received.attributes["rudolph.request.id"] for received in collector.spans] == ["r-5"]


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "rudolph-api"),
        ({"OTEL_SERVICE_NAME": "pictures"}, "pictures"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=pictures"}, "pictures"),
    ],
)
def test_the_environment_s_service_name_replaces_the_default(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable, value in (collector.environment | variables).items():
        monkeypatch.setenv(variable, value)
    tracer = open_tracer(os.environ, "rudolph-api")
    tracer.request("GET", {}, "r-6").end("/", 200)
    tracer.close()
    assert [received.service for received in collector.spans] == [name]


def test_the_environment_s_sampler_decides(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in (collector.environment | {"OTEL_TRACES_SAMPLER": "always_off"}).items():
        monkeypatch.setenv(variable, value)
    tracer = open_tracer(os.environ, "rudolph-api")
    tracer.request("GET", {"traceparent": TRACEPARENT}, "r-7").end("/", 200)
    tracer.close()
    assert collector.spans == []


def test_close_does_not_wait_for_a_collector_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
        tracer = open_tracer(os.environ, "rudolph-test")
        started_s = time.monotonic()
        for number in range(500):
            attempt(tracer, job_id=f"job_{number}").end("succeeded")
        assert time.monotonic() - started_s < 2
        tracer.close()
        assert time.monotonic() - started_s < 6
