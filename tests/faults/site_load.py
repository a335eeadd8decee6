"""HTTP load on three hosts: clients of a balancer before two API processes, and what they were answered."""

import asyncio
import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.faults.fleet import Fleet
from tests.faults.http_server import api_process
from tests.faults.report import Report, Scale
from tests.faults.site import Site
from tests.faults.worker_program import answer

_POLL_S = 0.15
_DOWN_S = 5.0
TIMEOUT = httpx.Timeout(10, connect=1)


@dataclass
class Client:
    """Clients of a balancer before two API processes: retries with the same key, polls at either."""

    apis: list[httpx.AsyncClient]
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    """Job id → its prompt, for every job that was answered with 202."""
    keys: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Idempotency key → ids that it was answered with."""
    shown: dict[str, str] = field(default_factory=dict[str, str])
    not_found: int = 0
    wrong: int = 0
    changed: int = 0
    refused: int = 0
    other_statuses: set[int] = field(default_factory=set[int])
    last_accepted_s: float = 0.0
    longest_outage_s: float = 0.0
    stopping: bool = False
    down_until: dict[httpx.AsyncClient, float] = field(default_factory=dict[httpx.AsyncClient, float])
    give_up_at: float = float("inf")
    task: asyncio.Task[None] | None = None
    _turn: int = 0

    async def run(self, *, at_once: int, pause_s: float) -> None:
        """Submit jobs and wait for each until `stopping`."""
        self.last_accepted_s = time.monotonic()
        await asyncio.gather(*(self._one_client(number, pause_s) for number in range(at_once)))

    async def _one_client(self, number: int, pause_s: float) -> None:
        following: list[asyncio.Task[None]] = []
        count = 0
        while not self.stopping:
            count += 1
            following.append(asyncio.create_task(self._follow(await self._submit(f"job {number} {count}"))))
            await asyncio.sleep(pause_s)
        await asyncio.gather(*following)

    async def _submit(self, prompt: str) -> str:
        key = uuid.uuid4().hex
        body = {"task": "text2text", "input": {"prompt": prompt, "seed": 1}}
        while True:
            reply = await self._send("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key})
            if reply is not None and reply.status_code == 202:
                now_s = time.monotonic()
                self.longest_outage_s = max(self.longest_outage_s, now_s - self.last_accepted_s)
                self.last_accepted_s = now_s
                job_id = reply.json()["id"]
                self.accepted[job_id] = prompt
                self.keys.setdefault(key, set()).add(job_id)
                return job_id
            self.refused += 1
            await asyncio.sleep(0.1)

    async def _follow(self, job_id: str) -> None:
        while time.monotonic() < self.give_up_at:
            reply = await self._send("GET", f"/v1/jobs/{job_id}")
            if reply is not None and reply.status_code == 200 and reply.json()["state"] == "succeeded":
                self.see(job_id, reply)
                return
            await asyncio.sleep(_POLL_S)

    def see(self, job_id: str, reply: httpx.Response) -> None:
        """Remember the result that a client was shown; all clients must be shown the same."""
        # The fields beside the text may differ between releases.
        text = "".join(one["text"] for one in reply.json()["result"]["texts"])
        self.wrong += answer(self.accepted[job_id], 1) not in text
        self.changed += self.shown.setdefault(job_id, text) != text

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        self._turn += 1
        up = [api for api in self.apis if self.down_until.get(api, 0.0) < time.monotonic()] or self.apis
        api = up[self._turn % len(up)]
        try:
            reply = await api.request(method, path, **options)
        except httpx.TransportError:
            self.down_until[api] = time.monotonic() + _DOWN_S  # as a balancer's health check would do
            return None
        self.not_found += reply.status_code == 404
        if reply.status_code == 503:
            assert "retry-after" in reply.headers
        elif reply.status_code not in (200, 202, 404):
            self.other_statuses.add(reply.status_code)
        return reply


@asynccontextmanager
async def load_on(
    running: Site,
    scale: Scale,
    *,
    pause_s: float = 0.25,
    at_once: int = 8,
    wait_replicas: int | str = 1,
    **plan: Any,
) -> AsyncGenerator[Client]:
    """Clients that submit and follow jobs while the block runs."""
    directory = Path(tempfile.mkdtemp(prefix="site-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        apis: list[httpx.AsyncClient] = []
        for host in running.hosts[:2]:
            api = await asyncio.to_thread(
                stack.enter_context,
                api_process(
                    running.url,
                    running.queue,
                    prefix=host.prefix,
                    host=host.address,
                    wait_replicas=wait_replicas,
                    wait_timeout_ms=500,
                ),
            )
            client = httpx.AsyncClient(base_url=f"http://{host.address}:{api.port}", timeout=TIMEOUT)
            apis.append(await stack.enter_async_context(client))
        for host in running.hosts[:2]:
            fleet = Fleet(
                running.url, running.queue, directory, size=1, prefix=host.prefix, lease_s=scale.lease_s,
                heartbeats=True, watchdog_s=3600, **plan,
            )  # fmt: skip
            stack.callback(fleet.stop)
            await asyncio.to_thread(fleet.tend)
        await until_ready(apis)
        load = Client(apis)
        load.task = asyncio.create_task(load.run(at_once=at_once, pause_s=pause_s))
        stack.callback(load.task.cancel)
        yield load


async def until_ready(apis: list[httpx.AsyncClient]) -> None:
    """Wait until all are ready."""
    async with asyncio.timeout(30):
        for api in apis:
            while (await api.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.1)


async def judge(load: Client, report: Report) -> None:
    """End the load. Every accepted job has one result that never changed, and no key has two jobs."""
    assert load.task is not None
    load.stopping = True
    load.give_up_at = time.monotonic() + 60
    await load.task
    # On the present primary, some seconds after the last fault: what was undone is visible now.
    for job_id in load.accepted:
        while (reply := await load._send("GET", f"/v1/jobs/{job_id}")) is None or reply.status_code == 503:
            await asyncio.sleep(_POLL_S)
        if reply.status_code == 200 and reply.json()["state"] == "succeeded":
            load.see(job_id, reply)
    report.accepted = len(load.accepted)
    report.completed = len(load.shown)
    report.lost = report.accepted - report.completed
    report.duplicates = sum(len(ids) - 1 for ids in load.keys.values())
    report.exactly("accepted jobs lost", report.lost, 0)
    report.exactly("keys with two jobs", report.duplicates, 0)
    report.exactly("replies 404 for an accepted job", load.not_found, 0)
    report.exactly("results shown to clients that changed", load.changed, 0)
    report.exactly("wrong results", load.wrong, 0)
    report.mark(f"statuses {load.other_statuses}", not load.other_statuses)
    report.figures["submissions refused and sent again"] = load.refused
    report.figures["longest time without an accepted job, s"] = round(load.longest_outage_s, 1)
    report.mark("there was load", report.accepted > 20)
