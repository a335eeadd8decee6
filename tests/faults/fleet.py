"""Worker processes that die, freeze and are replaced."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from jobs.contract.errors import QueueError
from jobs.worker.consumer import JobConsumer
from tests.faults.worker_program import WorkerPlan

ROOT = Path(__file__).parents[2]


@dataclass
class Member:
    worker_id: str
    process: subprocess.Popen[bytes]


class Fleet:
    """Keeps `size` workers running. `reports_crashes`: report deaths to the queue, as a supervisor does.

    `tree`: where the code of the workers is. `environment`: their variables beside those of the test.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        directory: Path,
        *,
        size: int,
        reports_crashes: bool = False,
        clock_offsets_s: tuple[float, ...] = (),
        prefix: tuple[str, ...] = (),
        tree: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        **plan: float,
    ) -> None:
        self.url, self.queue, self.directory = url, queue, directory
        self.size = size
        self.plan = plan
        self.prefix = prefix
        self.tree = tree
        self.environment = os.environ | dict(environment or {})
        self.clock_offsets_s = clock_offsets_s
        self.reports_crashes = reports_crashes
        self.members: list[Member] = []
        self.num_started = 0
        self._reporter = JobConsumer(url, queue=queue, worker_id=f"supervisor-{uuid.uuid4().hex}")

    def tend(self) -> None:
        """Replace the dead; call it often."""
        for member in list(self.members):
            code = member.process.poll()
            if code is None:
                continue
            if code != 0 and self.reports_crashes:
                try:
                    self._reporter.report_worker_crash(member.worker_id, message=f"exit code {code}")
                except QueueError:
                    continue  # reported at the next visit
            self.members.remove(member)
        while len(self.members) < self.size:
            self.members.append(self._start())

    def add(self) -> Member:
        """Start one more worker than `size`; the next retirement restores the number."""
        self.members.append(self._start())
        return self.members[-1]

    def retire_oldest(self) -> None:
        """SIGTERM, and wait until it is gone. Not replaced as the dead are if another was added before."""
        old = self.members.pop(0)
        old.process.terminate()
        old.process.wait(timeout=20)

    def stop(self) -> None:
        for member in self.members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.process.pid, signal.SIGCONT)
            member.process.kill()
            member.process.wait()
        self.members.clear()
        self._reporter.close()

    def journal(self) -> list[tuple[str, int, str]]:
        """Every commit that a worker lived to write down: job id, attempt, answer."""
        lines: list[tuple[str, int, str]] = []
        for file in self.directory.glob("*.journal"):
            for line in file.read_text(encoding="ascii").splitlines():
                job_id, attempt, answer = line.split()
                lines.append((job_id, int(attempt), answer))
        return lines

    def _start(self) -> Member:
        # As a supervisor names them: a slot, and eight digits of this process.
        worker_id = f"worker-{len(self.members)}-{uuid.uuid4().hex[:8]}"
        offsets = self.clock_offsets_s
        plan = WorkerPlan(
            url=self.url,
            queue=self.queue,
            worker_id=worker_id,
            journal=str(self.directory / f"{worker_id}.journal"),
            clock_offset_s=offsets[self.num_started % len(offsets)] if offsets else 0.0,
            **self.plan,  # type: ignore[arg-type]
        )
        self.num_started += 1
        process = subprocess.Popen(
            [
                *self.prefix,
                sys.executable,
                "-m",
                "tests.faults.worker_program",
                msgspec.json.encode(plan).decode(),
            ],
            cwd=self.tree,
            env=self.environment,
        )
        return Member(worker_id, process)
