"""Faults of Redis and of the network to it: killed, emptied, full, unreliable."""

import asyncio
import contextlib
import time

from jobs.client.client import JobClient
from jobs.contract.errors import DataLost, QueueFull, QueueUnavailable
from tests.faults.arena import Arena, arena, durable_server, prompts
from tests.faults.proxy import Proxy, Weather
from tests.faults.report import OnProgress, Report, Scale
from tests.support.sample_jobs import make_job

NOT_READY_WITHIN_S = 2.0
SERVING_WITHIN_S = 5.0


async def killed_server(scale: Scale, progress: OnProgress) -> Report:
    """Redis gets SIGKILL under load and restarts; no other process is restarted."""
    report = Report()
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            ring.man(scale)
            submitting = asyncio.create_task(ring.submit_all(prompts(scale.jobs)))
            for number in range(scale.faults):
                progress("server killed", number, scale.faults)
                await asyncio.sleep(0.7)
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(server.start)
                returned_at = time.monotonic()
                await ring.submit(f"после {number}", number)
                report.recovery_s.append(time.monotonic() - returned_at)
            await submitting
            report.mark("all jobs end", await ring.until_done(len(ring.acknowledged), 60 + scale.jobs / 10))
            await ring.check(report, lease_s=scale.lease_s)
            report.figures["server kills"] = scale.faults
            report.recovered_within(SERVING_WITHIN_S)
    return report


async def emptied_server(scale: Scale, progress: OnProgress) -> Report:
    """FLUSHALL under load: the server is not ready, shows no wrong result, and creates no new queue."""
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
            report.accepted = len(ring.acknowledged)
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
            proxy.weather = Weather(swallow=0.05, delay=0.02, delay_s=2.0, reset=0.02)
            await ring.submit_all(prompts(scale.jobs), at_once=48)
            report.mark("all jobs end", await ring.until_done(scale.jobs, 120 + scale.jobs / 5))
            proxy.weather = Weather()
            await asyncio.sleep(6)  # connections without traffic time out
            await ring.check(report, lease_s=scale.lease_s)
            report.figures |= {
                "replies swallowed": proxy.swallowed,
                "replies delayed": proxy.delayed,
                "lines cut": proxy.cut,
            }
            report.mark("the weather was bad", proxy.swallowed > 0 and proxy.delayed > 0 and proxy.cut > 0)
    return report


async def _num_keys_beside_the_mark(ring: Arena) -> int:
    """Of the queue's keys on the emptied server; the mark of the loss is meant to be there."""
    found = await ring.client._transport.command("KEYS", "*")
    return sum(not key.endswith(b":lost") for key in found)


async def _num_job_keys(ring: Arena) -> int:
    found = await ring.client._transport.command("KEYS", "*")
    return sum(not key.endswith(b":boot") for key in found)
