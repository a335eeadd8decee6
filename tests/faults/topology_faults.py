"""The queue over Sentinel, while masters freeze or are cut off; and over a Cluster."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from jobs.client.client import JobClient
from jobs.contract.errors import QueueError
from jobs.contract.limits import QueueLimits
from tests.faults.arena import Arena, arena, prompts
from tests.faults.fleet import Fleet
from tests.faults.report import OnProgress, Report, Scale
from tests.faults.topologies import Node, SentinelGroup, cluster, sentinel_group
from tests.support.sample_jobs import make_job

_CONFIRMED = QueueLimits(
    max_depth=100_000, tenant_max_jobs=100_000, wait_replicas=1, wait_timeout_ms=500, lease_s=1.0
)


async def failover(scale: Scale, progress: OnProgress) -> Report:
    """The master is frozen under load and a replica takes over; the old one comes back as a replica."""
    report = Report()
    with sentinel_group() as group:
        async with arena(group.url, progress, limits=_CONFIRMED) as ring:
            ring.follows = True
            ring.man(scale)
            submitting = asyncio.create_task(ring.submit_all(prompts(scale.jobs)))
            for number in range(scale.faults):
                progress("masters frozen", number, scale.faults)
                await asyncio.sleep(1.0)
                old = await asyncio.to_thread(group.master)
                old.server.freeze()
                frozen_at = time.monotonic()
                await ring.submit(f"после {number}", number)
                report.recovery_s.append(time.monotonic() - frozen_at)
                old.server.thaw()
                await _see_another_master(group, old, report)
            await submitting
            await _end(ring, scale, report)
    return report


async def cut_link(scale: Scale, progress: OnProgress) -> Report:
    """The network is cut in two: the master is left with a client and a worker that still reach it."""
    report = Report()
    with sentinel_group() as group:
        async with arena(group.url, progress, limits=_CONFIRMED) as ring:
            ring.follows = True
            ring.man(scale)
            submitting = asyncio.create_task(ring.submit_all(prompts(scale.jobs)))
            told = 0
            for number in range(scale.faults):
                progress("links cut", number, scale.faults)
                await asyncio.sleep(1.0)
                old = await asyncio.to_thread(group.master)
                async with _cut_off(ring, old.server.url, scale) as minority:
                    old.door.severed = True
                    cut_at = time.monotonic()
                    others = asyncio.create_task(_submit_for(minority, 4.0, number))
                    await ring.submit(f"после {number}", number)
                    report.recovery_s.append(time.monotonic() - cut_at)
                    told += await others
                    old.door.severed = False
                    await _see_another_master(group, old, report)
            await submitting
            await _end(ring, scale, report)
            report.figures["submissions on the cut-off side without an answer"] = told
            report.mark("the cut-off side tried", told > 0)
    return report


@asynccontextmanager
async def _cut_off(ring: Arena, url: str, scale: Scale) -> AsyncGenerator[JobClient]:
    """A client and a worker beside the master. What they believe to have done must hold afterwards, too."""
    assert ring.fleet is not None
    minority = await JobClient.connect(url, queue=ring.queue, limits=_CONFIRMED)
    fleet = Fleet(url, ring.queue, ring.directory, size=1, lease_s=scale.lease_s)
    await asyncio.to_thread(fleet.tend)
    following = [
        asyncio.create_task(_follow(ring, minority, job_id))
        for job_id in list(ring.acknowledged.keys() - ring.shown.keys())[:50]
    ]
    try:
        yield minority
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        await asyncio.to_thread(fleet.stop)
        await minority.close()


async def _follow(ring: Arena, minority: JobClient, job_id: str) -> None:
    with contextlib.suppress(QueueError):
        ring.show(job_id, await minority.wait(job_id, None))


async def _submit_for(minority: JobClient, seconds: float, number: int) -> int:
    """Return the number of unanswered submissions to an isolated primary.

    None may be acknowledged, because no replica can have it.
    """
    unanswered = 0
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        try:
            job = make_job(f"отрезан {number}", idempotency_key=uuid.uuid4().hex)
            async with asyncio.timeout(2.0):
                await minority.submit(job)
        except (QueueError, TimeoutError):
            unanswered += 1
        else:
            raise AssertionError("a master without its replicas acknowledged a job")
    return unanswered


async def _see_another_master(group: SentinelGroup, old: Node, report: Report) -> None:
    new = await asyncio.to_thread(group.master)
    report.mark("another master took over", new is not old)
    await asyncio.to_thread(group.wait_for_replicas)


async def _end(ring: Arena, scale: Scale, report: Report) -> None:
    report.mark("all jobs end", await ring.until_done(len(ring.acknowledged), 90 + scale.jobs / 10))
    await ring.check(report, lease_s=scale.lease_s, commits_may_be_undone=True)
    report.figures["failovers"] = scale.faults


async def over_a_cluster(scale: Scale, progress: OnProgress) -> Report:
    """Every script stays in one slot: the whole life of jobs works on a Cluster of three."""
    report = Report()
    with cluster() as url:
        async with arena(url, progress) as ring:
            ring.follows = True
            ring.man(scale)
            await ring.submit_all(prompts(scale.jobs))
            report.mark("all jobs end", await ring.until_done(scale.jobs, 60 + scale.jobs / 10))
            await ring.check(report, lease_s=scale.lease_s)
    return report
