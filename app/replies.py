"""From what the queue holds to the plain data of a reply. Knows the field names of the HTTP contract."""

import base64
import math
from typing import Any

from app.errors import from_failure
from jobs.job import JobState
from jobs.results import (
    AnswerResult,
    ClassifyResult,
    GeneratedImage,
    GeneratedText,
    ImagesResult,
    JobFailure,
    Outcome,
    RankingResult,
    Result,
    TextsResult,
    Usage,
)
from jobs.status import JobStatus, Timings


def task_reply(status: JobStatus, result: Result, *, seed: int | None = None) -> dict[str, Any]:
    """The whole answer of a task route."""
    reply: dict[str, Any] = {
        "id": status.id,
        "model": status.model,
        "created": int(status.timings.created_s),
        "usage": usage_reply(result.usage),
        "timings": timings_reply(status.timings),
    }
    if seed is not None and isinstance(result, TextsResult):
        reply["seed"] = seed
    return reply | _payload(result)


def job_reply(status: JobStatus, outcome: Outcome | None) -> dict[str, Any]:
    """A job as /v1/jobs shows it; with its result once there is one."""
    failure = outcome if isinstance(outcome, JobFailure) else status.failure
    result = None if outcome is None or isinstance(outcome, JobFailure) else task_reply(status, outcome)
    return {
        "id": status.id,
        "task": str(status.task),
        "state": str(status.state),
        "created": int(status.timings.created_s),
        "attempt": status.attempt,
        "priority": status.priority,
        "position": status.position,
        "progress": _progress(status),
        "cancel_requested": status.cancel_requested,
        "model": status.model,
        "timings": timings_reply(status.timings),
        "error": from_failure(failure).body()["error"] if failure else None,
        "result": result,
    }


def usage_reply(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def timings_reply(timings: Timings) -> dict[str, float | None]:
    """Durations in milliseconds; all three moments are by the clock of Redis."""
    created_s, started_s, finished_s = timings.created_s, timings.started_s, timings.finished_s
    return {
        "queue_ms": _ms(created_s, started_s),
        "compute_ms": _ms(started_s, finished_s),
        "total_ms": _ms(created_s, finished_s),
    }


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def media_type_of(data: bytes) -> str:
    """Of a picture that a worker encoded."""
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/jpeg" if data.startswith(b"\xff\xd8") else "image/webp"


def _ms(begin_s: float | None, end_s: float | None) -> float | None:
    return None if begin_s is None or end_s is None else round(max(end_s - begin_s, 0.0) * 1000, 3)


def _progress(status: JobStatus) -> dict[str, Any] | None:
    progress = status.progress
    if progress is None or status.state is not JobState.RUNNING:
        return None
    return {"phase": progress.phase, "done": progress.done, "total": progress.total}


def _payload(result: Result) -> dict[str, Any]:
    match result:
        case ImagesResult():
            return {"images": [_image(image) for image in result.images]}
        case TextsResult():
            return {"texts": [_text(text) for text in result.texts]}
        case RankingResult():
            return {
                "ranking": [
                    {
                        "index": item.index,
                        "score": item.score,
                        "ppl_text": item.ppl_text,
                        "ppl_image": item.ppl_image,
                    }
                    for item in result.ranking
                ]
            }
        case ClassifyResult():
            return {
                "class": result.scores[result.label].class_name,
                "label": result.label,
                "scores": [
                    {"class": item.class_name, "score": item.score, "ppl_text": item.ppl_text}
                    for item in result.scores
                ],
            }
        case AnswerResult():
            return {"answer": result.answer}


def _image(image: GeneratedImage) -> dict[str, Any]:
    item: dict[str, Any] = {"b64_json": base64_text(image.data), "seed": image.seed}
    return item | _scores(image) | ({"codes": list(image.codes)} if image.codes is not None else {})


def _text(text: GeneratedText) -> dict[str, Any]:
    item: dict[str, Any] = {"text": text.text, "count": text.count}
    return item | _scores(text) | ({"tokens": list(text.tokens)} if text.tokens is not None else {})


def _scores(item: GeneratedImage | GeneratedText) -> dict[str, float]:
    values = {"score": item.score, "ppl_text": item.ppl_text, "ppl_image": item.ppl_image}
    return {name: value for name, value in values.items() if value is not None and not math.isnan(value)}
