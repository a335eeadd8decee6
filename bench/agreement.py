"""Whether a seed draws the same picture alone and among others, by number format.

Alone a picture is drawn with guesses, in batches step by step: so this compares both ways at once. In exact
arithmetic all agree; what differs is rounding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import results
from jobs.job import Job, Task
from jobs.requests import Sampling, Text2ImageRequest
from jobs.results import ImagesResult, JobFailure
from model.checkpoint import load_rudolph
from model.tasks import Ids
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = {
    "tiny-v1": ROOT / "tests" / "fixtures" / "tiny-v1",
    "tiny-v2": ROOT / "tests" / "fixtures" / "tiny-v2",
    "demo": ROOT / "checkpoints" / "demo",
}
BATCHES = (2, 3, 5, 16)
PROMPT = "кот на синем фоне"
SAMPLING = Sampling(1.0, 768, 0.99)
FIRST_SEED = 1000


def compare(num_pictures: int) -> dict[str, Any]:
    """Shares of equal pictures and of equal codes, as a result document."""
    content = results.document(rows=[])
    for dtype in ("float32", "bfloat16"):
        for name, folder in CHECKPOINTS.items():
            if folder.is_dir():
                content["rows"] += _compare_one(name, folder, dtype, num_pictures)
    return content


def _compare_one(name: str, folder: Path, dtype: str, num_pictures: int) -> list[dict[str, Any]]:
    rudolph = load_rudolph(folder, dtype=dtype)
    seeds = [FIRST_SEED + 7 * number for number in range(num_pictures)]
    rows: list[dict[str, Any]] = []
    session = Session(rudolph, EngineSettings(num_slots=max(BATCHES)))
    alone = [_draw(session, [seed])[0] for seed in seeds]
    for batch in BATCHES:
        drawn: list[Ids] = []
        for first in range(0, num_pictures, batch):
            drawn += _draw(session, seeds[first : first + batch])
        equal = sum(one == other for one, other in zip(alone, drawn, strict=True))
        rows.append(
            {"name": f"{name}, {dtype}, batches of {batch}", "value": equal, "unit": f"of {num_pictures}"}
        )
        print(f"  {rows[-1]['name']:<40} {equal} of {num_pictures}", flush=True)
    session.close()
    return rows


def _draw(session: Session, seeds: Sequence[int]) -> list[Ids]:
    """Codes of one picture a seed, drawn at the same time."""
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
