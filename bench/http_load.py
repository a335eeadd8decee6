"""A load generator with low processor time: fixed requests over persistent connections.

Reads HTTP/1.1 responses with a Content-Length only.
"""

import asyncio
import time
from dataclasses import dataclass

import uvloop

HEADERS_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """Latencies of the requests, and the seconds of all together."""

    latencies_s: list[float]
    spent_s: float
    body_bytes: int
    """Size of the last response body."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies_s) / self.spent_s

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def post(path: str, body: bytes) -> bytes:
    """Return the bytes of a request for a PNG image."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: image/png\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def run(port: int, requests: list[bytes], connections: int) -> Load:
    """Send all requests over this number of connections. Raises ConnectionError for an error."""
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
    raise ConnectionError("The response has no Content-Length.")
