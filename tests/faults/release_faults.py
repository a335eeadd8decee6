"""Two releases on one Redis: the processes of one are replaced by those of the other under load, and back."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.faults.arena import durable_server
from tests.faults.fleet import ROOT, Fleet
from tests.faults.http_server import ApiProcess, api_process
from tests.faults.report import OnProgress, Report, Scale
from tests.faults.site_load import TIMEOUT, Client, judge, until_ready

LAST_RELEASE = "e57762f"
"""The last commit of 0.1.0."""
_SETTLE_S = 2.0


async def rolling_upgrade(scale: Scale, progress: OnProgress) -> Report:
    """Workers, then APIs of 0.1.0 are replaced by these under load, and these by 0.1.0 again."""
    report = Report()
    with contextlib.ExitStack() as stack:
        old = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="release-")))
        await asyncio.to_thread(_unpack, old)
        server = stack.enter_context(durable_server())
        async with _Releases(server.url, scale.lease_s) as releases:
            await releases.start(old)
            load = releases.load
            load.task = asyncio.create_task(load.run(at_once=8, pause_s=0.25))
            for turn in range(scale.faults):
                progress("upgrades and rollbacks", turn, scale.faults)
                await releases.replace(old if turn % 2 else ROOT)
            await judge(load, report)
    report.exactly("submissions refused", load.refused, 0)
    return report


def why_no_release() -> str | None:
    """Why the files of the last release cannot be had; None if they can."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return "this is no clone with git, so there are no files of the last release"
    found = subprocess.run(
        ["git", "cat-file", "-e", LAST_RELEASE], cwd=ROOT, capture_output=True, check=False
    )
    return None if found.returncode == 0 else f"this clone does not have the commit {LAST_RELEASE}"


def _unpack(folder: Path) -> None:
    with subprocess.Popen(["git", "archive", LAST_RELEASE], cwd=ROOT, stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", str(folder)], stdin=archive.stdout, check=True)


@dataclass
class _Release:
    """Processes of one release."""

    fleet: Fleet
    api: ApiProcess
    client: httpx.AsyncClient


@dataclass
class _Releases:
    """One API process and two workers, of whichever release is next."""

    url: str
    lease_s: float
    load: Client = field(default_factory=lambda: Client([]))
    queue: str = field(default_factory=lambda: f"releases-{uuid.uuid4().hex}")
    _current: _Release | None = None
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> "_Releases":
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="workers-")))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.load.task is not None:
            self.load.task.cancel()
        await self._stack.aclose()

    async def start(self, tree: Path) -> None:
        """Start the first release."""
        fleet = await self._man(tree)
        self._current = await self._serve(tree, fleet)

    async def replace(self, tree: Path) -> None:
        """Replace the workers, then the API; each leaves as SIGTERM makes it leave."""
        before = self._current
        assert before is not None
        fleet = await self._man(tree)
        await asyncio.sleep(_SETTLE_S)
        for _ in range(len(before.fleet.members)):
            await asyncio.to_thread(before.fleet.retire_oldest)
        await asyncio.sleep(_SETTLE_S)
        self._current = await self._serve(tree, fleet)
        await asyncio.sleep(_SETTLE_S)
        self.load.apis.remove(before.client)
        await asyncio.sleep(1)  # as a balancer waits for the last requests
        before.api.process.terminate()
        await asyncio.to_thread(before.api.process.wait, 30)

    async def _man(self, tree: Path) -> Fleet:
        fleet = Fleet(
            self.url, self.queue, self._directory, size=2, tree=tree, lease_s=self.lease_s,
            heartbeats=True, watchdog_s=3600,
        )  # fmt: skip
        self._stack.callback(fleet.stop)
        await asyncio.to_thread(fleet.tend)
        return fleet

    async def _serve(self, tree: Path, fleet: Fleet) -> _Release:
        api = await asyncio.to_thread(self._stack.enter_context, api_process(self.url, self.queue, tree=tree))
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=TIMEOUT, trust_env=False)
        await self._stack.enter_async_context(client)
        await until_ready([client])
        self.load.apis.append(client)
        return _Release(fleet, api, client)
