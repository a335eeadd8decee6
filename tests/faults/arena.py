"""What all fault tests share: a queue under load, acknowledged jobs, and the marks that must be met."""

import asyncio
import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import keys
from jobs.client import JobClient, QueueLimits
from jobs.errors import AdmissionError, JobNotFound, OutcomeUnknown, QueueUnavailable
from jobs.job import Job, Task
from jobs.requests import Text2TextRequest
from jobs.results import TextsResult
from tests.faults.fleet import Fleet
from tests.faults.worker_program import answer
from tests.jobs.servers import RedisServer

OnProgress = Callable[[str, int, int], None]
"""What is being done, how much of it, of how much."""


@dataclass(frozen=True)
class Scale:
    """Size of a fault test."""

    jobs: int
    faults: int
    lease_s: float = 1.0
    workers: int = 3
    slack: float = 1.0
    """Factor on marks that measure this machine more than the queue, for test runs on busy ones."""


@dataclass
class Report:
    """Figures of one fault test, and the marks that it missed."""

    figures: dict[str, float | int] = field(default_factory=dict[str, float | int])
    missed: list[str] = field(default_factory=list[str])

    def mark(self, sentence: str, met: bool) -> None:
        if not met:
            self.missed.append(sentence)

    def at_most(self, name: str, value: float, limit: float) -> None:
        self.figures[name] = round(value, 3)
        self.mark(f"{name} is {value:.3g}, more than {limit:.3g}", value <= limit)

    def exactly(self, name: str, value: int, expected: int) -> None:
        self.figures[name] = value
        self.mark(f"{name} is {value}, not {expected}", value == expected)


@dataclass
class Arena:
    """One queue, its client, its workers, and the jobs that it acknowledged."""

    url: str
    queue: str
    client: JobClient
    directory: Path
    progress: OnProgress
    fleet: Fleet | None = None
    acknowledged: dict[str, Job] = field(default_factory=dict[str, Job])
    follows: bool = False
    """Wait for each job as its client would, and remember what was shown."""
    shown: dict[str, object] = field(default_factory=dict[str, object])
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list[asyncio.Task[Any]])

    def man(self, scale: Scale, **options: Any) -> Fleet:
        """Workers from here on, replaced when they die."""
        options = {"size": scale.workers, "lease_s": scale.lease_s, **options}
        options.setdefault("url", self.url)
        self.fleet = Fleet(queue=self.queue, directory=self.directory, **options)
        self.fleet.tend()
        self._tasks.append(asyncio.create_task(self._tend()))
        return self.fleet

    async def submit(self, prompt: str, seed: int, **fields: Any) -> str:
        """As a patient HTTP client does: the same key again until there is an answer."""
        fields.setdefault("idempotency_key", uuid.uuid4().hex)
        while True:
            job = Job(
                id=uuid.uuid4().hex,
                task=Task.TEXT2TEXT,
                request=Text2TextRequest(prompt, seed=seed),
                **fields,
            )
            try:
                submission = await self.client.submit(job)
            except (AdmissionError, OutcomeUnknown, QueueUnavailable):
                await asyncio.sleep(0.05)
                continue
            self.acknowledged[submission.id] = job
            if self.follows:
                self._tasks.append(asyncio.create_task(self._follow(submission.id)))
            return submission.id

    async def submit_all(self, prompts: Iterable[str], *, at_once: int = 16, **fields: Any) -> None:
        waiting = list(enumerate(prompts))[::-1]

        async def one_client() -> None:
            while waiting:
                seed, prompt = waiting.pop()
                await self.submit(prompt, seed, **fields)

        await asyncio.gather(*(one_client() for _ in range(at_once)))

    async def until_done(self, num_jobs: int, timeout_s: float) -> bool:
        """Wait until so many jobs reached a terminal state. False if they did not in time."""
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            with contextlib.suppress(QueueUnavailable):
                ended = sum((await self.client.stats()).totals.values())
                self.progress("jobs done", ended, num_jobs)
                if ended >= num_jobs:
                    return True
            await asyncio.sleep(0.1)
        return False

    async def keep_doing(self, action: Callable[[], Awaitable[None]], *, every_s: float) -> Any:
        """Repeat `action` beside the load until `calm`."""

        async def repeat() -> None:
            while not self._stopping.is_set():
                await asyncio.sleep(every_s)
                await action()

        task = asyncio.create_task(repeat())
        self._tasks.append(task)
        return task

    async def check(
        self,
        report: Report,
        *,
        expected_failures: int = 0,
        lease_s: float = 1.0,
        commits_may_be_undone: bool = False,
    ) -> None:
        """Every acknowledged job has its one, right, lasting result. A failover may undo commits that no
        replica had yet: their jobs are run again."""
        first = await self._results()
        wrong = lost = 0
        for job_id, job in self.acknowledged.items():
            try:
                outcome = await self.client.outcome(job_id)
            except JobNotFound:
                outcome = None
            assert isinstance(job.request, Text2TextRequest)
            expected = answer(job.request.prompt, job.request.seed)
            lost += outcome is None
            wrong += outcome is not None and not (
                isinstance(outcome, TextsResult) and outcome.texts[0].text == expected
            )
        await asyncio.sleep(2 * lease_s)  # late commits, if any, come now
        again = await self._results()
        report.exactly("acknowledged jobs lost", lost, 0)
        report.exactly("jobs without their right result", wrong, expected_failures)
        report.exactly(
            "results that changed", sum(again[job_id] != data for job_id, data in first.items()), 0
        )
        if self.follows:
            last = {job_id: await self.client.outcome(job_id) for job_id in self.shown}
            changed = sum(last[job_id] != outcome for job_id, outcome in self.shown.items())
            report.exactly("results shown to clients that changed", changed, 0)
            report.exactly("clients without an answer", len(self.acknowledged) - len(self.shown), 0)
        totals = (await self.client.stats()).totals
        report.exactly("terminal states set", sum(totals.values()), len(self.acknowledged))
        report.figures["jobs"] = len(self.acknowledged)
        if self.fleet is not None:
            journal = self.fleet.journal()
            report.figures["late commits refused"] = sum(answer == "fenced" for _, _, answer in journal)
            accepted = [job_id for job_id, _, answer in journal if answer == "accepted"]
            twice = len(accepted) - len(set(accepted))
            if commits_may_be_undone:
                report.figures["commits undone by failover"] = twice
            else:
                report.exactly("jobs committed twice", twice, 0)

    async def close(self) -> None:
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.fleet is not None:
            self.fleet.stop()
        await self.client.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _follow(self, job_id: str) -> None:
        while job_id not in self.shown:
            with contextlib.suppress(QueueUnavailable):
                self.shown[job_id] = await self.client.wait(job_id, None)

    async def _results(self) -> dict[str, bytes | None]:
        link = self.client._link
        ids = list(self.acknowledged)
        names = [keys.result(self.queue, job_id) for job_id in ids]
        found: list[bytes | None] = []
        for start in range(0, len(names), 1000):
            found += await link.command("MGET", *names[start : start + 1000])
        return dict(zip(ids, found, strict=True))

    async def _tend(self) -> None:
        while not self._stopping.is_set():
            if self.fleet is not None:
                await asyncio.to_thread(self.fleet.tend)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def arena(
    url: str, progress: OnProgress, *, limits: QueueLimits | None = None
) -> AsyncGenerator[Arena]:
    """A fresh queue on the server at `url`."""
    queue = f"faults-{uuid.uuid4().hex}"
    limits = limits or QueueLimits(max_depth=100_000, tenant_max_jobs=100_000, lease_s=1.0)
    client = await JobClient.connect(url, queue=queue, limits=limits)
    ring = Arena(url, queue, client, Path(tempfile.mkdtemp(prefix="faults-")), progress)
    try:
        yield ring
    finally:
        await ring.close()


def prompts(num: int) -> list[str]:
    return [f"запрос {index}" for index in range(num)]


def durable_server(**options: str | int) -> RedisServer:
    """As the embedded server is configured."""
    return RedisServer(appendfsync="always", **options)
