"""Selects the plan of a job. The plans are in the other modules of this package."""

from collections.abc import Generator

from jobs.contract.job import Job
from jobs.contract.requests import (
    AnswerRequest,
    ClassifyRequest,
    Image2TextRequest,
    RankImagesRequest,
    RankTextsRequest,
    Text2ImageRequest,
    Text2TextRequest,
)
from jobs.contract.results import Result
from model.rudolph import Rudolph
from workers.engine.work import Work, WorkResult
from workers.planner.drawing import draw
from workers.planner.ranking import classify, rank_images, rank_texts
from workers.planner.writing import answer, caption, continue_text

Plan = Generator[Work, WorkResult, Result]
"""Yields work items, receives their results, and returns the result of the job.

Raises Refused for a job that breaks a rule of the loaded model. Nothing is checked before the first `next`.
"""


def plan(job: Job, rudolph: Rudolph) -> Plan:
    """Return the plan of a job."""
    match job.request:
        case Text2ImageRequest() as request:
            return draw(request, rudolph)
        case Image2TextRequest() as request:
            return caption(request, rudolph)
        case Text2TextRequest() as request:
            return continue_text(request, rudolph)
        case RankImagesRequest() as request:
            return rank_images(request, rudolph)
        case RankTextsRequest() as request:
            return rank_texts(request, rudolph)
        case ClassifyRequest() as request:
            return classify(request, rudolph)
        case AnswerRequest() as request:
            return answer(request, rudolph)
