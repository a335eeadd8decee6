"""Counts the seeds that draw the same image alone and in a batch, by number format.

An image alone is drawn with Jacobi decoding, images of a batch step by step, so this compares both methods.
In exact arithmetic all agree; differences come from rounding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import results
from jobs.contract.job import Job
from jobs.contract.requests import Sampling, Task, Text2ImageRequest
from jobs.contract.results import ImagesResult, JobFailure
from model.files.checkpoint import load_rudolph
from model.tasks import Ids
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = ROOT / "checkpoints" / "demo"
BATCHES = (2, 3, 5, 16)
PROMPT = "кот на синем фоне"
SAMPLING = Sampling(1.0, 768, 0.99)
FIRST_SEED = 1000


def compare(num_images: int) -> dict[str, Any]:
    """Return the numbers of equal images as a result document."""
    content = results.document(rows=[])
    for dtype in ("float32", "bfloat16"):
        content["rows"] += _compare_one(dtype, num_images)
    return content


def _compare_one(dtype: str, num_images: int) -> list[dict[str, Any]]:
    rudolph = load_rudolph(CHECKPOINT, dtype=dtype)
    seeds = [FIRST_SEED + 7 * number for number in range(num_images)]
    rows: list[dict[str, Any]] = []
    session = Session(rudolph, EngineSettings(num_slots=max(BATCHES)))
    alone = [_draw(session, [seed])[0] for seed in seeds]
    for batch in BATCHES:
        drawn: list[Ids] = []
        for first in range(0, num_images, batch):
            drawn += _draw(session, seeds[first : first + batch])
        equal = sum(one == other for one, other in zip(alone, drawn, strict=True))
        rows.append(
            {"name": f"demo, {dtype}, batches of {batch}", "value": equal, "unit": f"of {num_images}"}
        )
        print(f"  {rows[-1]['name']:<40} {equal} of {num_images}", flush=True)
    session.close()
    return rows


def _draw(session: Session, seeds: Sequence[int]) -> list[Ids]:
    """Draw one image for each seed in one batch; return their codes."""
    for seed in seeds:
        request = Text2ImageRequest(PROMPT, seed, sampling=SAMPLING, return_codes=True)
        session.submit(Job(str(seed), Task.TEXT2IMAGE, request))
    codes: dict[str, Ids] = {}
    while session.has_work:
        for event in session.step().events:
            if isinstance(event, Finished):
                if isinstance(event.outcome, JobFailure):
                    raise RuntimeError(event.outcome.message)
                assert isinstance(event.outcome, ImagesResult)
                codes[event.job_id] = event.outcome.images[0].codes or ()
    return [codes[str(seed)] for seed in seeds]
