"""Rounds of the `schemathesis` command against one server, and what they come to."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.servers import ROOT

CONFIG = Path(__file__).parent / "schemathesis.toml"
KEY = "fuzz-key-0123456789"
"""As in `schemathesis.toml`."""
FIRST_PHASES = "examples,coverage,fuzzing,stateful"
LATER_PHASES = "fuzzing,stateful"
CASES_AN_EXAMPLE = 20
"""About as many operations as there are; only the length of a round hangs on it."""
ROUND_TIMEOUT_S = 1200
BROKEN_OFF = "Unsupported type: 'Binary'"
"""Schemathesis 4.32 fails on its own value when it mutates a form with files, before it sends the form. The
other requests of that operation are skipped. This is counted separately from faults of the server."""


class Campaign:
    """Counts over all rounds. Reports and outputs stay in `folder`."""

    def __init__(self, url: str, pid: int, folder: Path) -> None:
        self.num_rounds = 0
        self.num_cases = 0
        self.num_failures = 0
        self.num_broken_off = 0
        self.stuck = False
        """A round asked nothing at all: the command itself failed."""
        self._url = url
        self._process = psutil.Process(pid)
        self._first_bytes = self._process.memory_info().rss
        self._folder = folder
        self._reports: list[dict[str, Any]] = []
        self._document = folder / "openapi.json"
        headers = {"Authorization": f"Bearer {KEY}"}
        self._document.write_bytes(httpx.get(f"{url}/openapi.json", headers=headers).content)

    def rounds(self, seed: int, wanted: int, *, parallel: int) -> list[str]:
        """`parallel` runs side by side, about `wanted` cases in all; the output of each with a fault."""
        numbers = range(self.num_rounds, self.num_rounds + parallel)
        examples = max(wanted // parallel // CASES_AN_EXAMPLE, 1)
        with ThreadPoolExecutor(parallel) as pool:
            outputs = list(pool.map(lambda number: self._run(number, seed + number, examples), numbers))
        faulty: list[str] = []
        for number, output in zip(numbers, outputs, strict=True):
            if not self._count(self._folder / f"round-{number}.json", output):
                faulty.append(output)
        self.num_rounds += parallel
        return faulty

    def summary(self, log: str) -> dict[str, Any]:
        """Everything that counts; `passed` is False for any failure, crash or unforeseen exception."""
        crashes = log.count('"event": "worker_ended"') + log.count('"event": "engine_crashed"')
        unhandled = log.count('"event": "unhandled"') + log.count('"event": "stream_failed"')
        server_errors = log.count('"status": 500')
        faults = self.num_failures + crashes + unhandled + server_errors
        return {
            "passed": not faults and not self.stuck,
            "cases": self.num_cases,
            "rounds": self.num_rounds,
            "failures": self.num_failures,
            "operations_broken_off": self.num_broken_off,
            "answers_500": server_errors,
            "failure_kinds": [failure for report in self._reports for failure in report.get("failures", [])],
            "errors": [error for report in self._reports for error in report.get("errors", [])],
            "worker_crashes": crashes,
            "unhandled_exceptions": unhandled,
            "api_rss_before_mb": round(self._first_bytes / 1e6, 1),
            "api_rss_after_mb": round(self._process.memory_info().rss / 1e6, 1),
        }

    def _count(self, path: Path, output: str) -> bool:
        """Add a round's report up; whether it found nothing. What broke off says only the output."""
        report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        counted = report.get("test_cases", {"generated": 0, "with_failures": 0, "errored": 0})
        errors = sum(error["count"] for error in report.get("errors", []))
        broken_off = output.splitlines().count(BROKEN_OFF)
        failures = counted["with_failures"] + counted["errored"] + errors - broken_off
        self.num_broken_off += broken_off
        self.num_cases += counted["generated"]
        self.num_failures += failures
        self.stuck = self.stuck or not counted["generated"]
        self._reports.append(report)
        return not failures and bool(counted["generated"])

    def _run(self, number: int, seed: int, examples: int) -> str:
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color", "run",
            str(self._document), "--url", self._url,
            "--phases", LATER_PHASES if number else FIRST_PHASES,
            "--max-examples", str(examples), "--seed", str(seed),
            "--report", "json", "--report-json-path", str(self._folder / f"round-{number}.json"),
        ]  # fmt: skip
        reply = subprocess.run(
            command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=ROUND_TIMEOUT_S
        )
        return reply.stdout + reply.stderr
