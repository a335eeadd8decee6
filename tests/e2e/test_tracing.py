"""Traces of the whole server: one from the client's request to the worker's attempt, or none at all."""

from pathlib import Path

from tests.support.servers import Server, serving
from tests.telemetry.collector import Collector

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
DRAWING = {"prompt": "кот", "seed": 1}
WITHOUT_THE_PACKAGES = """
import sys
sys.modules["opentelemetry.sdk"] = None
"""


def test_one_trace_leads_from_the_client_through_the_api_to_the_worker(
    tmp_path: Path, tiny_v2: Path, server_v2: Server
) -> None:
    # FastAPI has spans of its own and a variable for them. They would report every request twice.
    environment = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with (
        Collector() as collector,
        serving(tiny_v2, tmp_path, **collector.environment | environment) as server,
    ):
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        reply = server.client.post("/v1/text2image", json=DRAWING, headers=headers)
        assert reply.status_code == 200
        # Both processes write into this log: the request's line, and the job's two.
        server.wait_for_log(f'"trace_id": "{TRACE}"', times=3)
        # With so long a delay nothing leaves but with the processes.
        assert collector.spans == []
        assert server.stop() == 0
        worker, api = sorted(collector.spans, key=lambda span: span.seconds)
    assert (api.service, worker.service) == ("rudolph-api", "rudolph-worker")
    assert (api.trace_id, worker.trace_id) == (TRACE, TRACE)
    assert (api.name, api.parent) == ("POST /v1/text2image", PARENT)
    assert (worker.name, worker.parent) == ("text2image", api.span_id)
    assert worker.attributes["rudolph.job.id"] == reply.json()["id"]
    assert worker.attributes["rudolph.model"] == "tiny-v2"

    untraced = server_v2.client.post("/v1/text2image", json=DRAWING)
    assert untraced.json()["images"] == reply.json()["images"]
    assert list(untraced.headers) == list(reply.headers)


def test_without_an_endpoint_neither_process_loads_it(tmp_path: Path, tiny_v2: Path) -> None:
    with serving(tiny_v2, tmp_path, PYTHONPROFILEIMPORTTIME="1") as server:
        assert server.client.post("/v1/text2image", json=DRAWING).status_code == 200
        assert server.stop() == 0
        assert "telemetry.tracing" in server.text
        # Only the tracing parts, because redis-py loads the metrics parts if the SDK is installed.
        for module in ("telemetry.spans", "opentelemetry.sdk.trace", "opentelemetry.exporter"):
            assert module not in server.text


def test_without_the_packages_both_processes_say_so_and_serve(tmp_path: Path, tiny_v2: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(WITHOUT_THE_PACKAGES, encoding="utf-8")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(hidden)}
    with serving(tiny_v2, tmp_path / "data", **environment) as server:
        assert server.client.post("/v1/text2image", json=DRAWING).status_code == 200
        assert server.text.count("pip install -e '.[tracing]'") == 2
