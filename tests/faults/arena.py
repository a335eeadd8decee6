"""What all fault tests share: a queue under load, acknowledged jobs, and the marks that must be met."""

import asyncio
import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.client.client import JobClient
from jobs.contract.errors import AdmissionError, JobNotFound, OutcomeUnknown, QueueUnavailable
from jobs.contract.job import Job
from jobs.contract.limits import QueueLimits
from jobs.contract.requests import Task, Text2TextRequest
from jobs.contract.results import Outcome, TextsResult
from jobs.redis import keys
from tests.faults.fleet import Fleet
from tests.faults.report import OnProgress, Report, Scale
from tests.faults.worker_program import answer
from tests.support.redis_servers import RedisServer


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
        """Wait until `num_jobs` jobs reached a terminal state. Return False if they did not in time."""
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
        outcomes = await self._outcomes()
        report.accepted = len(self.acknowledged)
        report.completed = sum(outcome is not None for outcome in outcomes.values())
        wrong = sum(
            outcome is not None and not self._is_right(job_id, outcome)
            for job_id, outcome in outcomes.items()
        )
        await asyncio.sleep(2 * lease_s)  # late commits, if any, come now
        again = await self._results()
        report.lost = report.accepted - report.completed
        report.mark(f"{report.lost} acknowledged jobs are lost", report.lost == 0)
        report.exactly("jobs without their right result", wrong, expected_failures)
        report.exactly(
            "results that changed", sum(again[job_id] != data for job_id, data in first.items()), 0
        )
        if self.follows:
            last = await self._outcomes()
            changed = sum(last[job_id] != outcome for job_id, outcome in self.shown.items())
            report.exactly("results shown to clients that changed", changed, 0)
            silent = len(self.acknowledged.keys() - self.shown.keys())
            report.exactly("clients without an answer", silent, 0)
        ended = sum((await self.client.stats()).totals.values())
        twice = self._count_commits(report)
        if commits_may_be_undone:
            report.figures["commits undone by failover"], twice = twice, 0
        report.duplicates = twice + max(0, ended - report.accepted)
        report.mark(
            f"{twice} jobs were committed twice; {ended} ended of {report.accepted} accepted",
            report.duplicates == 0 and ended == report.accepted,
        )

    async def close(self) -> None:
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.fleet is not None:
            self.fleet.stop()
        await self.client.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _outcomes(self) -> dict[str, Outcome | None]:
        """What a client would be shown of each acknowledged job now; None: nothing."""
        ids = list(self.acknowledged)
        found: dict[str, Outcome | None] = {}
        for start in range(0, len(ids), 200):
            chunk = ids[start : start + 200]
            outcomes = await asyncio.gather(*(self._outcome(job_id) for job_id in chunk))
            found |= zip(chunk, outcomes, strict=True)
        return found

    async def _outcome(self, job_id: str) -> Outcome | None:
        try:
            return await self.client.outcome(job_id)
        except JobNotFound:
            return None

    def _is_right(self, job_id: str, outcome: Outcome) -> bool:
        request = self.acknowledged[job_id].request
        assert isinstance(request, Text2TextRequest)
        expected = answer(request.prompt, request.seed)
        return isinstance(outcome, TextsResult) and outcome.texts[0].text == expected

    def _count_commits(self, report: Report) -> int:
        """How many commits were accepted for a job that had one, by what the workers wrote down."""
        journal = self.fleet.journal() if self.fleet is not None else []
        report.figures["late commits refused"] = sum(answer == "fenced" for _, _, answer in journal)
        accepted = [job_id for job_id, _, answer in journal if answer == "accepted"]
        return len(accepted) - len(set(accepted))

    def show(self, job_id: str, outcome: Outcome) -> None:
        """Remember what a client was shown; two clients must be shown the same."""
        if self.shown.setdefault(job_id, outcome) != outcome:
            self.shown[job_id] = "two different results"

    async def _follow(self, job_id: str) -> None:
        while job_id not in self.shown:
            with contextlib.suppress(QueueUnavailable):
                self.show(job_id, await self.client.wait(job_id, None))

    async def _results(self) -> dict[str, bytes | None]:
        link = self.client._transport
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
    # What a client that waits may forget after minutes, a campaign looks at when it is over.
    limits = replace(limits, synchronous_ttl_s=limits.job_ttl_s)
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
