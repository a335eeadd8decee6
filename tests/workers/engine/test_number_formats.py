"""Every task in the number format that is the default on a CPU with bfloat16."""

from pathlib import Path

import pytest

from jobs.contract.job import Job
from jobs.contract.requests import (
    Borders,
    ClassifyRequest,
    Image2TextRequest,
    ImagePrompt,
    RankImagesRequest,
    RankTextsRequest,
    Request,
    Task,
    Text2ImageRequest,
    Text2TextRequest,
)
from jobs.contract.results import ClassifyResult, ImagesResult, JobFailure, Result
from model.backends.x86 import is_available
from model.files.checkpoint import load_rudolph
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session


def run(session: Session, request: Request) -> Result:
    session.submit(Job("job", Task.TEXT2IMAGE, request))
    while session.has_work:
        for event in session.step().events:
            if isinstance(event, Finished):
                assert not isinstance(event.outcome, JobFailure), event.outcome
                return event.outcome
    raise AssertionError("the job never finished")


@pytest.mark.parametrize("generation", ["tiny_v1", "tiny_v2"])
def test_every_task_runs_in_bfloat16(request: pytest.FixtureRequest, generation: str) -> None:
    folder: Path = request.getfixturevalue(generation)
    picture = (folder / "picture0.png").read_bytes()
    session = Session(load_rudolph(folder, device="cpu", dtype="bfloat16"))
    for task in (
        Text2ImageRequest("красный круг", seed=1, candidates=3, guidance=0.3),
        Text2ImageRequest("красный круг", seed=1, image_prompt=ImagePrompt(picture, Borders(up=1, left=1))),
        Image2TextRequest(picture, seed=1, candidates=3, rerank=True),
        Text2TextRequest("старый кот", seed=1),
        RankImagesRequest("кот", (picture, picture)),
        RankTextsRequest(picture, ("кот", "мяч")),
    ):
        run(session, task)
    session.close()


def test_bfloat16_scores_are_near_those_of_float32(tiny_v2: Path) -> None:
    picture = (tiny_v2 / "picture0.png").read_bytes()
    ppl: list[list[float]] = []
    for dtype in ("float32", "bfloat16"):
        session = Session(load_rudolph(tiny_v2, device="cpu", dtype=dtype))
        result = run(session, ClassifyRequest(picture, ("круг", "кот", "домик"), "на картинке {}"))
        assert isinstance(result, ClassifyResult)
        ppl.append([score.ppl_text for score in result.scores])
        session.close()
    assert ppl[1] == pytest.approx(ppl[0], rel=0.1)


def test_int8_layers_score_near_float32_and_draw_the_same_alone_and_among_others(tiny_v2: Path) -> None:
    if not is_available():
        pytest.skip("this processor has no AVX2")
    picture = (tiny_v2 / "picture0.png").read_bytes()
    exact = Session(load_rudolph(tiny_v2, device="cpu", dtype="float32"))
    whole = Session(
        load_rudolph(tiny_v2, device="cpu", dtype="bfloat16"),
        EngineSettings(num_slots=8, weight_format="int8"),
    )
    request = ClassifyRequest(picture, ("круг", "кот", "домик"), "на картинке {}")
    scores = [run(session, request) for session in (exact, whole)]
    assert isinstance(scores[0], ClassifyResult)
    assert isinstance(scores[1], ClassifyResult)
    wanted = [score.ppl_text for score in scores[0].scores]
    got = [score.ppl_text for score in scores[1].scores]
    assert got != wanted
    assert got == pytest.approx(wanted, rel=0.25)
    drawn = run(whole, Text2ImageRequest("старый кот", seed=5, n=6, candidates=6, return_codes=True))
    assert isinstance(drawn, ImagesResult)
    for image in drawn.images:
        alone = run(whole, Text2ImageRequest("старый кот", seed=image.seed, return_codes=True))
        assert isinstance(alone, ImagesResult)
        assert alone.images[0].codes == image.codes
    exact.close()
    whole.close()
