"""`make fuzz`: raw HTTP messages and Schemathesis against a running server, then Atheris on pictures.

python -m tests.fuzz [--cases N] [--picture-runs N] [--seed N] [--report FILE]

The server is `rudolph serve` with a small checkpoint and an API key, so that keys are checked too.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.fuzz import picture_fuzzer
from tests.fuzz.campaign import KEY, Campaign
from tests.fuzz.message_fuzzer import Fuzzer
from tests.support.servers import ROOT, serving

CHECKPOINT = ROOT / "tests" / "fixtures" / "tiny-v2"
CASES_A_TURN = 4000
"""Between two lines about how far it has come."""
PARALLEL = 2
"""Schemathesis needs about as much time as the server that it asks."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument(
        "--cases", type=int, default=50_000, help="raw conversations, and requests by Schemathesis at least"
    )
    parser.add_argument("--picture-runs", type=int, default=1_000_000, help="files by Atheris")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path("reports/fuzz.json"))
    options = parser.parse_args()
    console = Console()
    report: dict[str, Any] = {"seed": options.seed}
    if options.cases:
        report["messages"] = fuzz_messages(options.cases, options.seed, console)
        report["requests"] = fuzz_requests(options.cases, options.seed, console)
    if options.picture_runs:
        report["pictures"] = picture_fuzzer.run(options.picture_runs, options.seed, console)
    passed = all(part.get("passed", False) for part in report.values() if isinstance(part, dict))
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(f"report: {options.report}; {'passed' if passed else 'FAILED'}")
    return 0 if passed else 1


def fuzz_messages(num_cases: int, seed: int, console: Console) -> dict[str, Any]:
    """Random upgrades, chunk framing, trailers and charsets over sockets."""
    with (
        tempfile.TemporaryDirectory(prefix="rudolph-fuzz-") as place,
        serving(CHECKPOINT, Path(place) / "server", RUDOLPH_API_KEYS=f"fuzz={KEY}") as server,
    ):
        started_s = time.monotonic()
        fuzzer = Fuzzer(httpx.URL(server.url).port or 80, server.process.pid, KEY, seed)
        fuzzer.run(num_cases, console)
        summary = fuzzer.summary(server.text) | {"wall_s": round(time.monotonic() - started_s, 1)}
    console.print_json(data=summary)
    return summary


def fuzz_requests(num_cases: int, seed: int, console: Console) -> dict[str, Any]:
    """Rounds of Schemathesis until `num_cases` have been sent, each with another seed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="rudolph-fuzz-") as place,
        serving(CHECKPOINT, Path(place) / "server", RUDOLPH_API_KEYS=f"fuzz={KEY}") as server,
        Progress(*columns, console=console, disable=not console.is_terminal) as display,
    ):
        campaign = Campaign(server.url, server.process.pid, Path(place))
        bar = display.add_task("requests", total=num_cases)
        started_s = time.monotonic()
        while campaign.num_cases < num_cases and not campaign.stuck:
            wanted = min(num_cases - campaign.num_cases, CASES_A_TURN)
            for output in campaign.rounds(seed, wanted, parallel=PARALLEL):
                console.print(output[-20_000:], markup=False, highlight=False)
            display.update(bar, completed=campaign.num_cases)
            _say(campaign, time.monotonic() - started_s, console)
        summary = campaign.summary(server.text) | {"wall_s": round(time.monotonic() - started_s, 1)}
    console.print_json(data=summary)
    return summary


def _say(campaign: Campaign, seconds: float, console: Console) -> None:
    cases = campaign.num_cases
    rate = f"{cases / seconds:.0f} a second"
    console.print(f"{cases} cases in {seconds:.0f} s ({rate}), {campaign.num_failures} failures")


if __name__ == "__main__":
    sys.exit(main())
