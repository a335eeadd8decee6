"""The queue over Sentinel, while masters are cut off; and over a Cluster."""

import asyncio
import time

from jobs.client import QueueLimits
from tests.faults.arena import OnProgress, Report, Scale, arena, prompts
from tests.faults.topologies import cluster, sentinel_group


async def failover(scale: Scale, progress: OnProgress) -> Report:
    """The master is cut off under load and a replica takes over; the old one comes back as a replica."""
    report = Report()
    limits = QueueLimits(
        max_depth=100_000, tenant_max_jobs=100_000, wait_replicas=1, wait_timeout_ms=500, lease_s=1.0
    )
    with sentinel_group() as group:
        async with arena(group.url, progress, limits=limits) as ring:
            ring.follows = True
            ring.man(scale)
            submitting = asyncio.create_task(ring.submit_all(prompts(scale.jobs)))
            slowest_s = 0.0
            for number in range(scale.faults):
                progress("masters cut off", number, scale.faults)
                await asyncio.sleep(1.0)
                old = await asyncio.to_thread(group.master)
                old.freeze()
                cut_at = time.monotonic()
                await ring.submit(f"после {number}", number)
                slowest_s = max(slowest_s, time.monotonic() - cut_at)
                old.thaw()
                new = await asyncio.to_thread(group.master)
                report.mark("another master took over", new is not old)
                await asyncio.to_thread(group.wait_for_replicas)
            await submitting
            report.mark("all jobs end", await ring.until_done(len(ring.acknowledged), 90 + scale.jobs / 10))
            await ring.check(report, lease_s=scale.lease_s, commits_may_be_undone=True)
            report.figures["failovers"] = scale.faults
            report.figures["slowest answer across a failover, s"] = round(slowest_s, 2)
    return report


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
