"""The checkpoint's temperature changes the probabilities of candidates, and nothing else of a result."""

from dataclasses import replace

import pytest
from msgspec import structs

from jobs.contract.requests import Request, Task, task_of
from jobs.contract.results import ClassifyResult, RankingResult
from model.config import GenerationConfig
from model.rudolph import Rudolph
from tests.support.sessions import result_of
from tests.workers.test_session import all_requests
from workers.engine.settings import EngineSettings
from workers.session import Session

TEMPERATURES = {Task.CLASSIFY: 0.5, Task.RANK_IMAGES: 2.0, Task.RANK_TEXTS: 4.0}


def _run(rudolph: Rudolph, request: Request) -> ClassifyResult | RankingResult:
    session = Session(rudolph, EngineSettings(6, 100))
    try:
        result = result_of(session, request)
    finally:
        session.close()
    assert isinstance(result, ClassifyResult | RankingResult)
    return result


@pytest.mark.parametrize("name", ["classes", "images", "rank texts"])
def test_the_temperature_of_the_task_changes_the_probabilities_alone(
    rudolph: Rudolph, picture: bytes, name: str
) -> None:
    request = all_requests(picture)[name]
    calibrated = GenerationConfig(
        probability_temperature={str(t): value for t, value in TEMPERATURES.items()}
    )
    plain, other = _run(rudolph, request), _run(replace(rudolph, generation=calibrated), request)
    temperature = TEMPERATURES[task_of(request)]
    assert (plain.temperature, other.temperature) == (1.0, temperature)
    assert structs.replace(other, temperature=1.0) == plain
    powers = [share ** (1 / temperature) for share in plain.probabilities()]
    assert other.probabilities() == pytest.approx([power / sum(powers) for power in powers])
