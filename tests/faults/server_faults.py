"""Faults of the server and of the way to it: killed, emptied, full, flooded, and behind a bad network."""

import asyncio
import contextlib
import time

from jobs.client import JobClient, QueueLimits
from jobs.errors import AdmissionError, DataLost, QueueFull, QueueUnavailable
from tests.faults.arena import Arena, OnProgress, Report, Scale, arena, durable_server, prompts
from tests.faults.proxy import Proxy, Weather
from tests.jobs.samples import make_job

NOT_READY_WITHIN_S = 2.0
SERVING_WITHIN_S = 5.0


async def killed_server(scale: Scale, progress: OnProgress) -> Report:
    """Redis gets SIGKILL under load and comes back; nobody else is restarted."""
    report = Report()
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            ring.man(scale)
            submitting = asyncio.create_task(ring.submit_all(prompts(scale.jobs)))
            slowest_s = 0.0
            for number in range(scale.faults):
                progress("server killed", number, scale.faults)
                await asyncio.sleep(0.7)
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(server.start)
                returned_at = time.monotonic()
                await ring.submit(f"после {number}", number)
                slowest_s = max(slowest_s, time.monotonic() - returned_at)
            await submitting
            report.mark("all jobs end", await ring.until_done(len(ring.acknowledged), 60 + scale.jobs / 10))
            await ring.check(report, lease_s=scale.lease_s)
            report.figures["server kills"] = scale.faults
            report.at_most("slowest first answer after a return, s", slowest_s, SERVING_WITHIN_S)
    return report


async def emptied_server(scale: Scale, progress: OnProgress) -> Report:
    """FLUSHALL under load: not ready, no false result, nothing made anew."""
    report = Report()
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            ring.man(scale)
            await ring.submit_all(prompts(scale.jobs))
            waiting = [asyncio.create_task(ring.client.wait(job_id, 20)) for job_id in ring.acknowledged]
            await asyncio.sleep(0.3)
            with server.client() as redis:
                redis.flushall()
            emptied_at = time.monotonic()
            ready = True
            while ready and time.monotonic() - emptied_at < 10:
                try:
                    await ring.client.ping()
                    await asyncio.sleep(0.02)
                except QueueUnavailable:
                    ready = False
            report.at_most("not ready after, s", time.monotonic() - emptied_at, NOT_READY_WITHIN_S)
            await asyncio.sleep(2 * scale.lease_s)
            known = await asyncio.gather(
                *(ring.client.outcome(job_id) for job_id in ring.acknowledged), return_exceptions=True
            )
            report.exactly("results shown after the loss", sum(not isinstance(k, DataLost) for k in known), 0)
            ended = await asyncio.gather(*waiting, return_exceptions=True)
            lost = sum(isinstance(outcome, DataLost) for outcome in ended)
            report.figures["waiting clients told of the loss"] = lost
            report.mark("a waiting client is told", lost > 0)
            report.exactly("keys made anew", await _num_keys_beside_the_mark(ring), 0)
            with contextlib.suppress(DataLost):
                await JobClient.connect(server.url, queue=ring.queue)
                report.mark("a later start refuses the emptied server", False)
    return report


async def full_server(scale: Scale, progress: OnProgress) -> Report:
    """Redis at maxmemory: submissions are refused whole, everything accepted is done."""
    report = Report()
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            await ring.submit_all(prompts(scale.jobs))
            with server.client() as redis:
                redis.config_set("maxmemory", 1)
            keys_before = await _num_job_keys(ring)
            refused = 0
            for index in range(50):
                try:
                    await ring.client.submit(make_job(f"лишний {index}", idempotency_key=f"k{index}"))
                except QueueFull:
                    refused += 1
            report.exactly("submissions refused", refused, 50)
            report.exactly("keys left by refused submissions", await _num_job_keys(ring) - keys_before, 0)
            ring.man(scale)
            report.mark("all jobs end", await ring.until_done(scale.jobs, 60 + scale.jobs / 10))
            await ring.check(report, lease_s=scale.lease_s)
            with server.client() as redis:
                redis.config_set("maxmemory", 0)
            await ring.submit("снова есть место", 1)
            report.mark("room again, jobs again", await ring.until_done(scale.jobs + 1, 10))
    return report


async def bad_network(scale: Scale, progress: OnProgress) -> Report:
    """Clients and workers reach Redis through a line that swallows, delays and resets replies."""
    report = Report()
    with durable_server() as server, Proxy(server.port, Weather()) as proxy:
        async with arena(proxy.url, progress) as ring:
            # A worker that waits five seconds for a lost reply must not lose its leases over it.
            ring.man(Scale(scale.jobs, 0, lease_s=3.0, workers=4), steps=3, batch=16, watchdog_s=60)
            proxy.weather = Weather(swallow=0.01, delay=0.02, delay_s=2.0, reset=0.02)
            await ring.submit_all(prompts(scale.jobs), at_once=48)
            proxy.weather.swallow = 0.05
            report.mark("all jobs end", await ring.until_done(scale.jobs, 120 + scale.jobs / 5))
            proxy.weather = Weather()
            await asyncio.sleep(6)  # whatever hangs on a silent line gives it up
            await ring.check(report, lease_s=scale.lease_s)
            report.figures |= {
                "replies swallowed": proxy.swallowed,
                "replies delayed": proxy.delayed,
                "lines cut": proxy.cut,
            }
            report.mark("the weather was bad", proxy.swallowed > 0 and proxy.delayed > 0 and proxy.cut > 0)
    return report


async def flood(scale: Scale, progress: OnProgress) -> Report:
    """One tenant sends ten times what the workers can do; another goes on as always."""
    report = Report()
    limits = QueueLimits(max_depth=200, tenant_max_jobs=10_000, lease_s=1.0)
    refusals_s: list[float] = []
    depths: list[int] = []
    with durable_server() as server:
        async with arena(server.url, progress, limits=limits) as ring:
            ring.man(scale, steps=2, step_s=0.05)
            await ring.submit_all(prompts(50))  # until the workers are up
            await ring.until_done(50, 20)
            ends_at = time.monotonic() + scale.faults

            async def flood_on() -> None:
                while time.monotonic() < ends_at:
                    started = time.monotonic()
                    try:
                        await ring.client.submit(make_job("поток", tenant="flood"))
                        await asyncio.sleep(0)
                    except AdmissionError:
                        refusals_s.append(time.monotonic() - started)
                        await asyncio.sleep(0.02)

            async def modest() -> list[float]:
                waits_s: list[float] = []
                while time.monotonic() < ends_at:
                    started = time.monotonic()
                    job = make_job("скромный", tenant="modest")
                    await ring.client.submit(job)
                    await ring.client.wait(job.id, 30)
                    waits_s.append(time.monotonic() - started)
                return waits_s

            async def watch() -> None:
                while time.monotonic() < ends_at:
                    depths.append((await ring.client.stats()).waiting)
                    progress(
                        "seconds of flood", int(scale.faults - (ends_at - time.monotonic())), scale.faults
                    )
                    await asyncio.sleep(0.1)

            memory_before = _memory(server)
            waits_s, *_ = await asyncio.gather(modest(), watch(), *(flood_on() for _ in range(8)))
            report.at_most("deepest queue", max(depths), limits.max_depth)
            report.at_most("memory used more, MiB", (_memory(server) - memory_before) / 2**20, 32)
            report.mark("the flood was refused", len(refusals_s) > 0)
            report.at_most("refusal p99, s", _quantile(refusals_s, 0.99), 0.05 * scale.slack)
            report.figures["refusals"] = len(refusals_s)
            report.figures["refusal median, s"] = round(_quantile(refusals_s, 0.5), 4)
            report.figures["median wait of the other tenant, s"] = round(_quantile(waits_s, 0.5), 3)
            report.at_most("longest wait of the other tenant, s", max(waits_s), 2.0)
            report.mark("the other tenant was served", len(waits_s) >= scale.faults)
    return report


async def _num_keys_beside_the_mark(ring: Arena) -> int:
    """Of the queue's keys on the emptied server; the mark of the loss is meant to be there."""
    found = await ring.client._link.command("KEYS", "*")
    return sum(not key.endswith(b":lost") for key in found)


async def _num_job_keys(ring: Arena) -> int:
    found = await ring.client._link.command("KEYS", "*")
    return sum(not key.endswith(b":boot") for key in found)


def _memory(server: object) -> int:
    with server.client() as redis:  # type: ignore[attr-defined]
        return int(redis.info("memory")["used_memory"])


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
