"""More candidates than slots: late ones get their prompt by a copy, and write what they write alone."""

from pathlib import Path

import pytest

from jobs.contract.job import Job
from jobs.contract.requests import Image2TextRequest, Task
from jobs.contract.results import TextsResult
from model.files.checkpoint import load_rudolph
from model.rudolph import Rudolph
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session


@pytest.fixture(scope="module")
def rudolph(tiny_v2: Path) -> Rudolph:
    return load_rudolph(tiny_v2, device="cpu", dtype="float32")


def captions(rudolph: Rudolph, folder: Path, numbers: list[int]) -> dict[str, list[str]]:
    """Eight captions of each picture, all jobs at once over 16 slots."""
    session = Session(rudolph, EngineSettings(num_slots=16))
    written: dict[str, list[str]] = {}
    for number in numbers:
        picture = (folder / f"picture{number}.png").read_bytes()
        request = Image2TextRequest(image=picture, seed=number, n=8, candidates=8)
        session.submit(Job(str(number), Task.IMAGE2TEXT, request))
    while session.has_work:
        for event in session.step().events:
            if isinstance(event, Finished):
                assert isinstance(event.outcome, TextsResult), event.outcome
                written[event.job_id] = [text.text for text in event.outcome.texts]
    session.close()
    return written


def test_candidates_that_wait_for_slots_write_what_they_write_alone(rudolph: Rudolph, tiny_v2: Path) -> None:
    alone = {
        name: texts for number in range(3) for name, texts in captions(rudolph, tiny_v2, [number]).items()
    }
    for order in ([1, 0, 2], [2, 0, 1]):
        assert captions(rudolph, tiny_v2, order) == alone
