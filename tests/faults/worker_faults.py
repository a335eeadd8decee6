"""Faults of workers: killed, frozen, poisoned, hung, replaced, and with clocks that are wrong."""

import asyncio
import os
import random
import signal
import time

from jobs.contract.job import JobState
from jobs.redis import keys
from tests.faults.arena import Arena, arena, durable_server, prompts
from tests.faults.fleet import Member
from tests.faults.report import OnProgress, Report, Scale


async def killed_workers(scale: Scale, progress: OnProgress) -> Report:
    """A worker repeatedly gets SIGKILL under load. No process reports it, so only its leases expire."""
    report = Report()
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            fleet = ring.man(scale, steps=15)
            returns: list[asyncio.Task[None]] = []

            async def watch(held: dict[str, int]) -> None:
                report.recovery_s.append(await _time_until_taken_back(ring, held))

            async def kill() -> None:
                holds = [(member, await _held(ring, member.worker_id)) for member in fleet.members]
                busy = [(member, held) for member, held in holds if held]
                if len(busy) > 1:  # on a slow machine the dead are not replaced within the second
                    victim, held = random.choice(busy)
                    victim.process.kill()
                    returns.append(asyncio.create_task(watch(held)))

            killing = await ring.keep_doing(kill, every_s=1.0)
            await ring.submit_all(prompts(scale.jobs))
            report.mark("all jobs end", await ring.until_done(scale.jobs, 60 + scale.jobs / 10))
            killing.cancel()
            await asyncio.gather(*returns)
            await ring.check(report, lease_s=scale.lease_s)
            report.figures["workers killed"] = len(returns)
            report.recovered_within(scale.lease_s + 2)
    return report


async def frozen_workers(scale: Scale, progress: OnProgress) -> Report:
    """A worker gets SIGSTOP for three leases, then SIGCONT: it goes on as if nothing had happened."""
    report = Report()
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            fleet = ring.man(scale, steps=15, watchdog_s=3600, heeds_losses=False)
            enough = asyncio.Event()
            submitting = asyncio.create_task(_steady_load(ring, scale.jobs, enough))
            for number in range(scale.faults):
                progress("workers frozen", number, scale.faults)
                victim = fleet.members[number % len(fleet.members)]
                while not await _held(ring, victim.worker_id):
                    if submitting.done() and (await ring.client.stats()).waiting == 0:
                        break
                    await asyncio.sleep(0.02)
                os.kill(victim.process.pid, signal.SIGSTOP)
                await asyncio.sleep(3 * scale.lease_s)
                os.kill(victim.process.pid, signal.SIGCONT)
                await asyncio.sleep(0.2)
            enough.set()
            await submitting
            report.mark("all jobs end", await ring.until_done(len(ring.acknowledged), 60))
            await ring.check(report, lease_s=scale.lease_s)
            report.figures["workers frozen"] = scale.faults
            report.mark("a commit came late", report.figures["late commits refused"] > 0)
    return report


async def poison_jobs(scale: Scale, progress: OnProgress) -> Report:
    """One job in a hundred ends the process that runs it, and a supervisor reports each death."""
    report = Report()
    poison = {index for index in range(scale.jobs) if index % 100 == 50}
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            ring.man(scale, reports_crashes=True, steps=3)
            await ring.submit_all(
                f"{'poison' if index in poison else 'запрос'} {index}" for index in range(scale.jobs)
            )
            report.mark("all jobs end", await ring.until_done(scale.jobs, 90 + scale.jobs / 5))
            letters = await ring.client.dead(limit=1000)
            dead = {ring.acknowledged[letter.id].request.prompt for letter in letters}  # type: ignore[union-attr]
            report.exactly(
                "poison jobs given up", sum(name.startswith("poison") for name in dead), len(poison)
            )
            report.exactly("other jobs given up", sum(not name.startswith("poison") for name in dead), 0)
            report.mark("each has its reason", all("exit code" in letter.message for letter in letters))
            await ring.check(report, expected_failures=len(poison), lease_s=scale.lease_s)
    return report


async def hung_steps(scale: Scale, progress: OnProgress) -> Report:
    """A job makes its worker's step hang for ever: the watchdog ends the process, the lease runs out."""
    report = Report()
    watchdog_s = 1.0
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            ring.man(scale, watchdog_s=watchdog_s)
            await ring.submit_all(prompts(scale.jobs))
            await ring.until_done(scale.jobs, 60)
            for number in range(scale.faults):
                progress("workers hung", number, scale.faults)
                job_id = await ring.submit(f"hang {number}", number)
                await _until_state(ring, job_id, JobState.RUNNING)
                hung_at = time.monotonic()
                await _until_attempt(ring, job_id, 2)
                report.recovery_s.append(time.monotonic() - hung_at)
            report.mark("all jobs end", await ring.until_done(scale.jobs + scale.faults, 60))
            # A worker looks after its leases every fifth of one; the reaper comes each second.
            report.recovered_within(watchdog_s + 1.4 * scale.lease_s + 2)
            await ring.check(report, lease_s=scale.lease_s)
    return report


async def rolling_restart(scale: Scale, progress: OnProgress) -> Report:
    """Workers are replaced one after the other under load, as an update does it."""
    report = Report()
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            fleet = ring.man(scale, steps=10, drain_s=0.1)
            enough = asyncio.Event()
            submitting = asyncio.create_task(_steady_load(ring, scale.jobs, enough))
            while not ring.acknowledged:
                await asyncio.sleep(0.05)
            for number in range(scale.faults):
                progress("workers replaced", number, scale.faults)
                await asyncio.sleep(0.5)
                await _until_claiming(ring, fleet.add())
                await asyncio.to_thread(fleet.retire_oldest)
            enough.set()
            await submitting
            report.mark("all jobs end", await ring.until_done(len(ring.acknowledged), 60))
            await ring.check(report, lease_s=scale.lease_s)
            report.figures["workers replaced"] = scale.faults
            report.mark("there was load all the time", len(ring.acknowledged) >= 5 * scale.faults)
    return report


async def wrong_clocks(scale: Scale, progress: OnProgress) -> Report:
    """Clocks of workers are a minute fast or slow, without any effect on jobs."""
    report = Report()
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            ring.man(scale, clock_offsets_s=(-60.0, 0.0, 60.0))
            await ring.submit_all(prompts(scale.jobs), deadline_s=30.0 + scale.jobs / 10)
            report.mark("all jobs end", await ring.until_done(scale.jobs, 60 + scale.jobs / 10))
            await ring.check(report, lease_s=scale.lease_s)
            attempts = [(await ring.client.status(job_id)).attempt for job_id in ring.acknowledged]
            report.exactly("jobs run more than once", sum(attempt > 1 for attempt in attempts), 0)
    return report


async def _steady_load(ring: Arena, max_waiting: int, enough: asyncio.Event) -> None:
    """New jobs as long as the test goes on, without ever piling up."""
    seed = 0
    while not enough.is_set():
        if (await ring.client.stats()).waiting < max_waiting:
            await asyncio.gather(*(ring.submit(f"запрос {seed + index}", seed) for index in range(8)))
            seed += 8
        else:
            await asyncio.sleep(0.05)


async def _held(ring: Arena, worker_id: str) -> dict[str, int]:
    flat = await ring.client._transport.command("HGETALL", f"{keys.prefix(ring.queue)}held:{worker_id}")
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {job_id.decode(): int(attempt) for job_id, attempt in pairs}


async def _time_until_taken_back(ring: Arena, held: dict[str, int]) -> float:
    started = time.monotonic()
    while held:
        await asyncio.sleep(0.05)
        for job_id, attempt in list(held.items()):
            status = await ring.client.status(job_id)
            if status.state is not JobState.RUNNING or status.attempt != attempt:
                del held[job_id]
    return time.monotonic() - started


async def _until_claiming(ring: Arena, member: Member) -> None:
    """As an update waits for the new worker to be ready."""
    key = f"{keys.prefix(ring.queue)}consumer:{member.worker_id}"
    while not await ring.client._transport.command("EXISTS", key):
        await asyncio.sleep(0.05)


async def _until_state(ring: Arena, job_id: str, state: JobState) -> None:
    while (await ring.client.status(job_id)).state is not state:
        await asyncio.sleep(0.02)


async def _until_attempt(ring: Arena, job_id: str, attempt: int) -> None:
    while (await ring.client.status(job_id)).attempt < attempt:
        await asyncio.sleep(0.02)
