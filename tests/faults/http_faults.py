"""Faults of those who use the HTTP side: one who floods it, and thousands who send or read too slowly."""

import asyncio
import contextlib
import random
import socket
import time
from dataclasses import dataclass, field

from tests.faults.arena import Arena, arena, durable_server, prompts
from tests.faults.http_server import ApiProcess, Line, api_process, line_to, request_bytes
from tests.faults.report import OnProgress, Report, Scale, quantile
from tests.support.redis_servers import RedisServer

_FLOOD_KEY, _MODEST_KEY = "flood-0123456789abcdef", "modest-0123456789abcdef"
_MAX_DEPTH = 200
_FLOOD_PER_S = 250.0
_NUM_FLOODERS = 10
_BATCH, _STEPS, _STEP_S = 4, 4, 0.05
"""The only worker can do twenty jobs a second, and no more."""
_DEFAULT_PATIENCE_S = {"body_timeout_s": 60.0, "body_idle_timeout_s": 10.0, "write_timeout_s": 30.0}
_SHORT_PATIENCE_S = {"body_timeout_s": 10.0, "body_idle_timeout_s": 4.0, "write_timeout_s": 8.0}
_NUM_LONG_REPLIES = 2
"""Of 70 KiB each: more than the path and the server's own buffer take together."""
_MIB = 1 << 20


@dataclass
class _Flood:
    """What was seen in the time of the flood."""

    ends_at: float
    refusals_s: list[float] = field(default_factory=list[float])
    waits_s: list[float] = field(default_factory=list[float])
    depths: list[int] = field(default_factory=list[int])
    offered: int = 0
    accepted: int = 0
    other_answers: int = 0
    modest_refused: int = 0

    async def send(self, line: Line, every_s: float) -> None:
        """Send requests at random times, independent of the responses."""
        body = {"task": "text2text", "input": {"prompt": "поток", "seed": 1}}
        next_at = time.monotonic()
        while (now := time.monotonic()) < self.ends_at:
            if now < next_at:
                await asyncio.sleep(next_at - now)
            next_at += random.expovariate(1 / every_s)
            started = time.monotonic()
            status = await line.post("/v1/jobs", body)
            self.offered += 1
            self.accepted += status == 202
            if status in (429, 503):
                self.refusals_s.append(time.monotonic() - started)
            self.other_answers += status not in (202, 429, 503)

    async def ask_modestly(self, line: Line) -> None:
        """One request after the other, each with its answer."""
        while time.monotonic() < self.ends_at:
            started = time.monotonic()
            status = await line.post("/v1/text2text", {"prompt": "скромный", "seed": 2})
            self.modest_refused += status != 200
            self.waits_s.append(time.monotonic() - started)

    async def watch(self, ring: Arena, seconds: int) -> None:
        while time.monotonic() < self.ends_at:
            self.depths.append((await ring.client.stats()).waiting)
            ring.progress("seconds of flood", int(seconds - (self.ends_at - time.monotonic())), seconds)
            await asyncio.sleep(0.1)


async def flood(scale: Scale, progress: OnProgress) -> Report:
    """Over HTTP, one tenant sends ten times what the workers can do; another goes on as always."""
    report = Report()
    keys = f"flood={_FLOOD_KEY},modest={_MODEST_KEY}"
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            ring.man(scale, size=1, batch=_BATCH, steps=_STEPS, step_s=_STEP_S, heartbeats=True)
            with api_process(server.url, ring.queue, api_keys=keys, max_queue_depth=_MAX_DEPTH) as api:
                await _until_served(api, _MODEST_KEY)
                await ring.submit_all(prompts(_MAX_DEPTH * 9 // 10), tenant="flood")
                memory = _memory(server, api)
                seen, served = await _flooded(ring, api, scale)
                grown = (_memory(server, api) - memory) / _MIB
            _judge_flood(report, seen, served, scale)
            report.at_most("memory used more by Redis and the API, MiB", grown, 64)
    return report


async def _flooded(ring: Arena, api: ApiProcess, scale: Scale) -> tuple[_Flood, int]:
    """What was seen, and how many jobs were done meanwhile."""
    async with contextlib.AsyncExitStack() as stack:
        flooders = [
            await stack.enter_async_context(line_to(api.port, _FLOOD_KEY)) for _ in range(_NUM_FLOODERS)
        ]
        modest = await stack.enter_async_context(line_to(api.port, _MODEST_KEY))
        done_before = sum((await ring.client.stats()).totals.values())
        seen = _Flood(time.monotonic() + scale.faults)
        every_s = _NUM_FLOODERS / _FLOOD_PER_S
        await asyncio.gather(
            seen.ask_modestly(modest),
            seen.watch(ring, scale.faults),
            *(seen.send(line, every_s) for line in flooders),
        )
        return seen, sum((await ring.client.stats()).totals.values()) - done_before


def _judge_flood(report: Report, seen: _Flood, served: int, scale: Scale) -> None:
    report.accepted = seen.accepted + len(seen.waits_s)
    report.figures["offered a second"] = round(seen.offered / scale.faults, 1)
    report.figures["served a second"] = round(served / scale.faults, 1)
    report.at_least("times what is served", seen.offered / max(served, 1), 10 / scale.slack)
    report.at_most("deepest queue", max(seen.depths), _MAX_DEPTH)
    report.figures["refusals"] = len(seen.refusals_s)
    report.mark("the flood was refused", len(seen.refusals_s) > seen.offered / 2)
    report.exactly("answers that are neither 202, 429 nor 503", seen.other_answers, 0)
    report.figures["refusal median, s"] = round(quantile(seen.refusals_s, 0.5), 4)
    report.at_most("refusal p99, s", quantile(seen.refusals_s, 0.99), 0.05 * scale.slack)
    # Half of what is served is its share; asking one after the other it cannot take as much.
    report.exactly("refusals of the other tenant", seen.modest_refused, 0)
    report.figures["requests of the other tenant"] = len(seen.waits_s)
    report.figures["median wait of the other tenant, s"] = round(quantile(seen.waits_s, 0.5), 3)
    report.at_most("longest wait of the other tenant, s", max(seen.waits_s), 2.0 * scale.slack)


async def slow_clients(scale: Scale, progress: OnProgress) -> Report:
    """Slow senders and clients that do not read are cut off; other clients are not affected."""
    report = Report()
    patience = _SHORT_PATIENCE_S if scale.slack > 1 else _DEFAULT_PATIENCE_S
    measured_s = patience["write_timeout_s"] / 3
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            ring.man(scale, size=1, steps=1, step_s=0.01, heartbeats=True)
            with api_process(server.url, ring.queue, **patience) as api:
                await _until_served(api, "")
                before_s = await _healthy(api, seconds=measured_s)
                memory = api.memory_bytes()
                async with contextlib.AsyncExitStack() as stack:
                    held = await _surround(api, stack, scale, progress, patience)
                    report.at_least("slow clients held at one time", held, 1.95 * scale.faults)
                    during_s = await _healthy(api, seconds=measured_s)
                    grown = (api.memory_bytes() - memory) / _MIB
                    left = await _until_cut_off(api, max(patience.values()) + 10)
    report.exactly("slow clients left when their time was over", left, 0)
    report.figures["memory used more by the API, MiB"] = round(grown, 1)
    report.figures["healthy requests"] = len(before_s) + len(during_s)
    report.figures["healthy p99 without them, s"] = round(quantile(before_s, 0.99), 4)
    twice_s = 2 * quantile(before_s, 0.99)
    report.at_most("healthy p99 beside them, s", quantile(during_s, 0.99), twice_s * scale.slack)
    return report


async def _surround(
    api: ApiProcess,
    stack: contextlib.AsyncExitStack,
    scale: Scale,
    progress: OnProgress,
    patience: dict[str, float],
) -> int:
    """How many slow clients the API holds once all are there, or when the first readers may be cut off."""
    every_s = patience["body_idle_timeout_s"] / 2
    started = time.monotonic()
    for number in range(scale.faults):
        await _drip(api.port, stack, every_s)
        progress("slow clients", number, 2 * scale.faults)
    for number in range(scale.faults):
        await _gape(api.port, stack)
        progress("slow clients", scale.faults + number, 2 * scale.faults)
    give_up_at = started + patience["write_timeout_s"] * 0.6
    held = 0
    while held < 2 * scale.faults and time.monotonic() < give_up_at:
        await asyncio.sleep(0.1)
        held = max(held, api.num_connections())
    return held


async def _drip(port: int, stack: contextlib.AsyncExitStack, every_s: float) -> None:
    """Announce a body and send a byte of it now and then: often enough not to count as idle."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)

    async def hang_up() -> None:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    stack.push_async_callback(hang_up)
    writer.write(request_bytes("POST", "/v1/text2text", announced=1000))

    async def drip() -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(every_s)

    stack.callback(asyncio.create_task(drip()).cancel)


async def _gape(port: int, stack: contextlib.AsyncExitStack) -> None:
    """Ask for long replies and read none of them, by a path that holds as little as one across a network."""
    line = socket.socket()
    stack.callback(line.close)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, ("127.0.0.1", port))
    await loop.sock_sendall(line, _NUM_LONG_REPLIES * request_bytes("GET", "/openapi.json"))


async def _until_cut_off(api: ApiProcess, limit_s: float) -> int:
    """How many connections are left once all should be gone, or after `limit_s`."""
    give_up_at = time.monotonic() + limit_s
    while (left := api.num_connections()) and time.monotonic() < give_up_at:
        await asyncio.sleep(0.2)
    return left


async def _healthy(api: ApiProcess, *, seconds: float) -> list[float]:
    """Times of whole requests, one after the other."""
    times_s: list[float] = []
    ends_at = time.monotonic() + seconds
    async with line_to(api.port) as line:
        while time.monotonic() < ends_at:
            started = time.monotonic()
            status = await line.post("/v1/text2text", {"prompt": "здоровый", "seed": 3})
            assert status == 200, status
            times_s.append(time.monotonic() - started)
    return times_s


async def _until_served(api: ApiProcess, key: str) -> None:
    give_up_at = time.monotonic() + 30
    async with line_to(api.port, key) as line:
        while await line.post("/v1/text2text", {"prompt": "первый", "seed": 0}) != 200:
            if time.monotonic() > give_up_at:
                raise TimeoutError("no worker came")
            await asyncio.sleep(0.1)


def _memory(server: RedisServer, api: ApiProcess) -> int:
    with server.client() as redis:
        used = redis.info("memory")["used_memory"]  # type: ignore[index]
    return int(used) + api.memory_bytes()
