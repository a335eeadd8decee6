"""A load generator that takes little of the processor: fixed requests over kept connections, raw sockets.

Knows HTTP/1.1 replies with a Content-Length, and nothing of what is asked.
"""

import asyncio
import time
from dataclasses import dataclass

import uvloop

HEADERS_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """Latencies in seconds, and what all requests together took."""

    latencies_s: list[float]
    spent_s: float
    body_bytes: int
    """Of the last reply."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies_s) / self.spent_s

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def post(path: str, body: bytes) -> bytes:
    """A request that asks for a picture."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAccept: image/png\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def run(port: int, requests: list[bytes], connections: int) -> Load:
    """Send all requests, so many at a time; ConnectionError for a reply that is not 200."""
    return uvloop.run(_run(port, requests, connections))


async def _run(port: int, requests: list[bytes], connections: int) -> Load:
    left = iter(requests)
    latencies: list[float] = []
    size = 0

    async def client() -> None:
        nonlocal size
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for request in left:
            start = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(HEADERS_END)
            size = _length(head)
            await reader.readexactly(size)
            latencies.append(time.perf_counter() - start)
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return Load(latencies, time.perf_counter() - start, size)


def _length(head: bytes) -> int:
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(head.decode(errors="replace"))
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise ConnectionError("a reply without a length")
