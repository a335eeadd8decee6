"""The worker's HTTP port."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from workers.metrics_server import MetricsServer
from workers.settings import WorkerSettings


class Worker:
    problem: str | None = None
    unready: str | None = None


@pytest.fixture
def worker() -> Worker:
    return Worker()


def _serve(worker: Worker, host: str) -> MetricsServer:
    registry = CollectorRegistry()
    Counter("rudolph_images_total", "Images drawn.", registry=registry).inc(3)
    server = MetricsServer(
        host, 0, registry=registry, problem=lambda: worker.problem, unready=lambda: worker.unready
    )
    server.start()
    return server


@pytest.fixture
def url(worker: Worker) -> Iterator[str]:
    server = _serve(worker, "127.0.0.1")
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def test_metrics_are_in_the_prometheus_text_format(url: str) -> None:
    reply = httpx.get(f"{url}/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "rudolph_images_total 3.0\n" in reply.text


def test_health_is_the_problem_or_ok(url: str, worker: Worker) -> None:
    reply = httpx.get(f"{url}/health")
    assert (reply.status_code, reply.text) == (200, "ok\n")
    worker.problem = "A model step has been running for 90 s."
    reply = httpx.get(f"{url}/health")
    assert (reply.status_code, reply.text) == (503, "A model step has been running for 90 s.\n")


def test_worker_without_redis_is_not_ready_but_healthy(url: str, worker: Worker) -> None:
    worker.unready = "Redis has accepted no heartbeat for 40 s."
    assert httpx.get(f"{url}/health").status_code == 200
    reply = httpx.get(f"{url}/health/ready")
    assert (reply.status_code, reply.text) == (503, "Redis has accepted no heartbeat for 40 s.\n")
    worker.unready = None
    assert httpx.get(f"{url}/health/ready").status_code == 200
    worker.problem = "A model step has been running for 90 s."
    assert httpx.get(f"{url}/health/ready").status_code == 503


def test_other_paths_and_methods_are_refused(url: str) -> None:
    assert httpx.get(url).status_code == 404
    assert httpx.post(f"{url}/metrics", content=b"x").status_code == 405


def test_it_listens_on_the_address_of_the_setting_only(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUDOLPH_WORKER_METRICS_HOST", raising=False)
    assert WorkerSettings().worker_metrics_host == "127.0.0.1"
    monkeypatch.setenv("RUDOLPH_WORKER_METRICS_HOST", "127.0.0.2")
    server = _serve(worker, WorkerSettings().worker_metrics_host)
    assert httpx.get(f"http://127.0.0.2:{server.port}/health").status_code == 200
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
    server.close()


def test_an_ipv6_address_works(worker: Worker) -> None:
    server = _serve(worker, "::1")
    assert httpx.get(f"http://[::1]:{server.port}/health").text == "ok\n"
    server.close()


def test_a_port_that_is_taken_is_an_error(worker: Worker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        MetricsServer(
            "127.0.0.1",
            taken.getsockname()[1],
            registry=CollectorRegistry(),
            problem=lambda: None,
            unready=lambda: None,
        )


def test_a_client_that_sends_nothing_keeps_no_other_waiting(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))):
        assert httpx.get(f"{url}/health", timeout=2.0).status_code == 200
