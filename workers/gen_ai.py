"""Attributes of a job by OpenTelemetry's semantic conventions for generative AI (status: development).

https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-spans.md. They hold settings
and counts, and no text of a client: no prompts, results or stop sequences.
"""

from jobs.contract.job import Job
from jobs.contract.requests import (
    AnswerRequest,
    Image2TextRequest,
    Text2ImageRequest,
    Text2TextRequest,
)
from jobs.contract.results import AnswerResult, JobFailure, Outcome, TextsResult
from telemetry.tracing import Attributes

PROVIDER = "rudolph"
Generating = Text2ImageRequest | Image2TextRequest | Text2TextRequest | AnswerRequest


def request_attributes(job: Job) -> Attributes:
    """Return what the request asks for. Jobs that only score have an operation of their own: the task."""
    request = job.request
    model = (job.model_revision or "").rpartition("@")[0]
    common: Attributes = {
        "gen_ai.operation.name": job.task.value,
        "gen_ai.provider.name": PROVIDER,
        **({"gen_ai.request.model": model} if model else {}),
    }
    return common | _generation(request) if isinstance(request, Generating) else common


def _generation(request: Generating) -> dict[str, str | int | float]:
    draws = isinstance(request, Text2ImageRequest)
    only_text = isinstance(request, Text2TextRequest)
    number = 1 if isinstance(request, AnswerRequest) else request.n
    limit = None if draws else request.max_tokens
    return {
        "gen_ai.operation.name": "text_completion" if only_text else "generate_content",
        "gen_ai.output.type": "image" if draws else "text",
        "gen_ai.request.temperature": request.sampling.temperature,
        "gen_ai.request.top_k": float(request.sampling.top_k),
        "gen_ai.request.top_p": request.sampling.top_p,
        "gen_ai.request.seed": request.seed,
        **({"gen_ai.request.choice.count": number} if number != 1 else {}),
        **({"gen_ai.request.max_tokens": limit} if limit is not None else {}),
    }


def response_attributes(outcome: Outcome, model: str) -> Attributes:
    """Return what was generated. `model` is the identity of the worker's model, name@revision."""
    if isinstance(outcome, JobFailure):
        return {}
    usage = outcome.usage
    reasons = {"gen_ai.response.finish_reasons": found} if (found := _finish_reasons(outcome)) else {}
    return {
        "gen_ai.response.model": model,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.image.input_tokens": usage.input_image_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        **reasons,
    }


def _finish_reasons(outcome: Outcome) -> list[str]:
    """Return a reason for each text. Images have none, because each has all of its codes."""
    match outcome:
        case TextsResult():
            return [text.finish_reason for text in outcome.texts]
        case AnswerResult():
            return [outcome.finish_reason]
        case _:
            return []
