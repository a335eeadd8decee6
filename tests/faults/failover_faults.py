"""Failovers of three hosts under HTTP load. The jobs that an API has accepted must survive all of them."""

import asyncio
import time
from collections.abc import Callable

from tests.faults.report import OnProgress, Report, Scale
from tests.faults.site import Site, site
from tests.faults.site_load import Client, judge, load_on

_SETTLE_S = 3.0
_OUTAGE_S = 20.0
"""Longest time without an accepted job that a failover may cause. Measured ones are about half of it."""


async def planned_failover(scale: Scale, progress: OnProgress) -> Report:
    """`SENTINEL FAILOVER` under load with two replicas: the old primary accepts jobs after its successor."""
    return await _fail_over_and_judge(scale, progress, Site.fail_over, num_replicas=2)


async def planned_failover_with_one_replica(scale: Scale, progress: OnProgress) -> Report:
    """The same with one replica. Between the roles each server is alone for a time, and accepts alone."""
    return await _fail_over_and_judge(scale, progress, Site.fail_over, num_replicas=1)


async def switchover_with_paused_writes(scale: Scale, progress: OnProgress) -> Report:
    """The documented switchover: writes are paused first, so that nothing has to be stored again."""

    def switch_over(running: Site) -> None:
        with running.servers[running.primary()].client() as client:
            client.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
        running.fail_over()

    return await _fail_over_and_judge(scale, progress, switch_over, num_replicas=2)


async def failover_during_commits(scale: Scale, progress: OnProgress) -> Report:
    """Workers commit all the time while the primary changes: undone commits are made good."""
    return await _fail_over_and_judge(
        scale, progress, Site.fail_over, num_replicas=2, at_once=16, pause_s=0.1, steps=1, step_s=0.01
    )


async def killed_primary_with_one_replica(scale: Scale, progress: OnProgress) -> Report:
    """SIGKILL for the primary's server: its only replica serves alone until the server is started again."""

    def kill(running: Site) -> Callable[[], object]:
        server = running.servers[running.primary()]
        server.kill()
        return server.start

    return await _lose_the_primary(scale, progress, kill, num_replicas=1)


async def lost_host(scale: Scale, progress: OnProgress) -> Report:
    """The host of the primary is cut off, with its API, worker and Sentinel; two hosts go on."""

    def cut(running: Site) -> Callable[[], object]:
        host = running.hosts[running.primary()]
        host.cut()
        return host.mend

    return await _lose_the_primary(scale, progress, cut, num_replicas=2)


async def _fail_over_and_judge(
    scale: Scale,
    progress: OnProgress,
    fail_over: Callable[[Site], object],
    *,
    num_replicas: int,
    **load_options: float,
) -> Report:
    report = Report()
    alone = {} if num_replicas > 1 else {"min-replicas-to-write": 0}
    with site(num_replicas, **alone) as running:
        wait = 1 if num_replicas > 1 else "all"
        async with load_on(running, scale, wait_replicas=wait, **load_options) as load:
            for number in range(scale.faults):
                progress("failovers", number, scale.faults)
                await asyncio.sleep(2.0)
                old = running.primary()
                asked_at = time.monotonic()
                await asyncio.to_thread(fail_over, running)
                await asyncio.to_thread(running.wait_for_another_primary, old)
                await _until_accepting(load)
                report.recovery_s.append(time.monotonic() - asked_at)
                await asyncio.to_thread(running.wait_for_replicas, num_replicas)
            await asyncio.sleep(_SETTLE_S)
            await judge(load, report)
    report.figures["failovers"] = scale.faults
    report.mark("the primary was never away for long", load.longest_outage_s < _OUTAGE_S)
    return report


async def _lose_the_primary(
    scale: Scale, progress: OnProgress, lose: Callable[[Site], Callable[[], object]], *, num_replicas: int
) -> Report:
    """`lose` takes the primary away and returns what brings it back."""
    report = Report()
    alone = {} if num_replicas > 1 else {"min-replicas-to-write": 0}
    with site(num_replicas, **alone) as running:
        async with load_on(running, scale, wait_replicas=1 if num_replicas > 1 else "all") as load:
            for number in range(scale.faults):
                progress("primaries lost", number, scale.faults)
                await asyncio.sleep(2.0)
                old = running.primary()
                lost_at = time.monotonic()
                bring_back = await asyncio.to_thread(lose, running)
                await asyncio.to_thread(running.wait_for_another_primary, old)
                await _until_accepting(load)
                report.recovery_s.append(time.monotonic() - lost_at)
                await asyncio.sleep(10.0)  # long after the failover: the others serve without the lost one
                report.at_most("seconds since the last job", time.monotonic() - load.last_accepted_s, 5.0)
                await asyncio.to_thread(bring_back)
                await asyncio.to_thread(running.wait_for_replicas, num_replicas)
            await asyncio.sleep(_SETTLE_S)
            await judge(load, report)
    report.figures["primaries lost"] = scale.faults
    report.mark("the primary was never away for long", load.longest_outage_s < _OUTAGE_S)
    return report


async def _until_accepting(load: Client) -> None:
    """Wait for the next job that is accepted from now on."""
    since = time.monotonic()
    async with asyncio.timeout(60):
        while load.last_accepted_s < since:
            await asyncio.sleep(0.05)
