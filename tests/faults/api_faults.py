"""The API process gets SIGKILL at every step of a submission; its client tries again with the same key."""

import asyncio
import sys

from tests.faults.api_program import STEPS
from tests.faults.arena import Arena, arena, durable_server
from tests.faults.fleet import ROOT
from tests.faults.report import OnProgress, Report, Scale


async def killed_api(scale: Scale, progress: OnProgress) -> Report:
    """Every acknowledged job exists, and a key has one job, however often its submission was interrupted."""
    report = Report()
    report.figures["submissions killed"] = 0
    with durable_server() as server:
        async with arena(server.url, progress) as ring:
            before_retry: dict[str, int] = {}
            for round_number in range(scale.faults):
                progress("rounds", round_number, scale.faults)
                keys = [f"{step} {round_number}" for step in STEPS]
                first = await asyncio.gather(
                    *(_submit(ring, key, step) for key, step in zip(keys, STEPS, strict=True))
                )
                for step, acknowledged in zip(STEPS, first, strict=True):
                    report.mark(
                        f"only an unkilled API acknowledges: {step}", (step == "never") == bool(acknowledged)
                    )
                    report.figures["submissions killed"] += acknowledged is None
                waiting = (await ring.client.stats()).waiting - round_number * len(STEPS)
                before_retry[str(round_number)] = waiting
                again = await asyncio.gather(*(_submit(ring, key, "never") for key in keys))
                report.mark("every retry is acknowledged", all(again))
                report.mark("the acknowledged job is the same", first[-1] in (None, again[-1]))
                for job_id in again:
                    assert job_id is not None
                    await ring.client.status(job_id)
            waiting = (await ring.client.stats()).waiting
            report.accepted = scale.faults * len(STEPS)
            report.duplicates = max(0, waiting - report.accepted)
            report.lost = max(0, report.accepted - waiting)
            report.exactly("jobs for all keys", waiting, report.accepted)
            # Sent, replied and never killed: these three were there before the retry.
            report.mark("what was sent whole was done", all(count == 3 for count in before_retry.values()))
    return report


async def _submit(ring: Arena, key: str, step: str) -> str | None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.api_program", ring.url, ring.queue, key, step,
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    output, _ = await process.communicate()
    words = output.decode().split()
    return words[1] if words else None
