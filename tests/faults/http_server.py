"""The real API process for fault tests, and a client thin enough to be no part of what it measures."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from tests.faults.fleet import ROOT

_READY = re.compile(r"RuDOLPH is ready on http://[\d.]+:(\d+)")
_START_TIMEOUT_S = 60.0
_OPEN_STATES = ("01", "08")
"""Established; or closed by the client and not yet by the server."""


class ApiProcess:
    """`rudolph serve --workers 0` on a queue that has workers of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def memory_bytes(self) -> int:
        """What the process has in memory now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def num_connections(self) -> int:
        """Clients whose connections the process has taken and not closed."""
        lines = Path(f"/proc/{self.process.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        fields = [line.split() for line in lines]
        here = f":{self.port:04X}"
        return sum(
            local.endswith(here) and state in _OPEN_STATES and inode != "0"
            for _, local, _, state, _, _, _, _, _, inode, *_ in fields
        )


@contextmanager
def api_process(
    redis_url: str,
    queue: str,
    *,
    prefix: tuple[str, ...] = (),
    tree: Path = ROOT,
    **settings: str | int | float,
) -> Generator[ApiProcess]:
    """An API with `settings` (names of app.settings) instead of its defaults. `tree`: where its code is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUDOLPH_")}
    environment |= {f"RUDOLPH_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {"RUDOLPH_QUEUE_NAME": queue, "RUDOLPH_LOG_LEVEL": "WARNING"}
    command = [
        *prefix, sys.executable, "-m", "cli", "serve", "--workers", "0", "--port", "0",
        "--redis-url", redis_url,
    ]  # fmt: skip
    with tempfile.NamedTemporaryFile(prefix="api-", suffix=".log") as log:
        process = subprocess.Popen(command, cwd=tree, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            yield ApiProcess(process, _wait_until_ready(process, Path(log.name)))
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> int:
    give_up_at = time.monotonic() + _START_TIMEOUT_S
    while (ready := _READY.search(text := log.read_text(encoding="utf-8", errors="replace"))) is None:
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise RuntimeError(f"the API did not start:\n{text[-2000:]}")
        time.sleep(0.05)
    return int(ready[1])


class Line:
    """One kept-alive HTTP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self._reader = reader
        self._writer = writer
        self._key = key

    async def post(self, path: str, body: object) -> int:
        """Send JSON, read the whole reply, give its status."""
        self._writer.write(request_bytes("POST", path, msgspec.json.encode(body), self._key))
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length is not None, head
        await self._reader.readexactly(int(length[1]))
        return int(head[9:12])


@asynccontextmanager
async def line_to(port: int, key: str = "") -> AsyncGenerator[Line]:
    """A connection for as long as the block lasts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer, key)
    finally:
        writer.transport.abort()


def request_bytes(
    method: str, path: str, body: bytes = b"", key: str = "", *, announced: int | None = None
) -> bytes:
    """A request; `announced` is the length that its header claims, the true one by default."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    if method == "POST":
        lines.append(f"Content-Length: {len(body) if announced is None else announced}")
    if key:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode() + body
