"""A worker is killed while it draws: no accepted job is lost, and none draws another picture."""

import base64
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.servers import Server, serving

DRAWING = {"prompt": "старый кот у моря", "candidates": 96, "seed": 42, "return_codes": True}
"""Long enough to be killed in the middle."""


def submit(client: httpx.Client, task: str, body: dict[str, Any]) -> str:
    reply = client.post("/v1/jobs", json={"task": task, "input": body})
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def finished(client: httpx.Client, job_id: str, timeout_s: float = 120) -> dict[str, Any]:
    deadline_s = time.monotonic() + timeout_s
    while (job := client.get(f"/v1/jobs/{job_id}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline_s, job
        time.sleep(0.05)
    return job


def kill_worker_in_mid_job(server: Server, job_id: str) -> None:
    deadline_s = time.monotonic() + 60
    while True:
        job = server.client.get(f"/v1/jobs/{job_id}").json()
        progress = job["progress"]
        if progress and 0 < progress["done"] < progress["total"]:
            break
        assert job["state"] in ("queued", "running"), job
        assert time.monotonic() < deadline_s, job
        time.sleep(0.01)
    os.kill(server.worker_pids()[-1], signal.SIGKILL)


def test_killed_worker_costs_no_job_and_changes_no_picture(tiny_v2: Path, tmp_path: Path) -> None:
    # Short leases, so that the test need not wait as long as a user would.
    with serving(tiny_v2, tmp_path, RUDOLPH_LEASE_S="3", RUDOLPH_RENEW_EVERY_S="0.5") as server:
        undisturbed = finished(server.client, submit(server.client, "text2image", DRAWING))
        drawing = submit(server.client, "text2image", DRAWING)
        others = [
            submit(server.client, "text2text", {"prompt": "большой синий мяч", "seed": seed})
            for seed in range(10)
        ]
        kill_worker_in_mid_job(server, drawing)
        job = finished(server.client, drawing)
        assert job["state"] == "succeeded"
        assert job["attempt"] == 2
        assert job["result"]["images"] == undisturbed["result"]["images"]
        assert all(finished(server.client, other)["state"] == "succeeded" for other in others)
        assert len(server.worker_pids()) == 2


def test_waiting_client_gets_its_picture_although_the_worker_is_killed(tiny_v2: Path, tmp_path: Path) -> None:
    with (
        serving(tiny_v2, tmp_path, RUDOLPH_LEASE_S="3", RUDOLPH_RENEW_EVERY_S="0.5") as server,
        httpx.Client(base_url=server.url, timeout=120) as other,
    ):
        # The worker that begins the job is frozen, then killed: the client only sees a slow answer.
        os.kill(server.worker_pids()[0], signal.SIGSTOP)
        blocker = submit(server.client, "text2image", DRAWING)
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        reply = other.post("/v1/text2image", json={"prompt": "мяч", "seed": 5})
        assert reply.status_code == 200
        assert base64.b64decode(reply.json()["images"][0]["b64_json"]).startswith(b"\x89PNG")
        assert finished(server.client, blocker)["state"] == "succeeded"


def test_sigterm_answers_what_was_asked_and_keeps_what_waits(tiny_v2: Path, tmp_path: Path) -> None:
    with serving(tiny_v2, tmp_path, RUDOLPH_DRAIN_S="1") as server:
        long = submit(server.client, "text2image", DRAWING | {"candidates": 256})
        server.wait_for_log("job_started")
        later = submit(server.client, "text2text", {"prompt": "кот", "seed": 1})
        pids = server.worker_pids()
        assert server.stop() == 0
    assert not any(is_running(pid) for pid in pids)
    # Another day, the same data folder: both jobs are still there.
    with serving(tiny_v2, tmp_path) as server:
        assert finished(server.client, later)["state"] == "succeeded"
        assert server.client.get(f"/v1/jobs/{long}").json()["state"] in ("queued", "running", "succeeded")
        server.client.delete(f"/v1/jobs/{long}")


def test_killed_server_leaves_no_process_behind(tiny_v2: Path, tmp_path: Path) -> None:
    with serving(tiny_v2, tmp_path, RUDOLPH_DRAIN_S="1") as server:
        children = descendants(server.process.pid)
        assert len(children) >= 2  # the worker and Redis
        server.process.kill()
        server.process.wait()
        deadline_s = time.monotonic() + 30
        while left := [pid for pid in children if is_running(pid)]:
            assert time.monotonic() < deadline_s, left
            time.sleep(0.1)


def is_running(pid: int) -> bool:
    """Return whether a process runs. An orphan that was not reaped yet is a zombie and does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return children + [one for child in children for one in descendants(child)]
