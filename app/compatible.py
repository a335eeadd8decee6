"""From OpenAI's words to the native tasks and back. Plain data in, plain data out; no HTTP here."""

from collections.abc import Sequence
from typing import Any

from app.errors import ApiError, invalid
from app.replies import base64_text
from app.schemas.openai import ChatBody, CompletionBody, EditsBody, ImagesBody, TextChoiceFields
from jobs.announcements import ModelInfo
from jobs.job import Task
from jobs.results import AnswerResult, ImagesResult, Result, TextsResult, Usage
from jobs.status import JobStatus


def images_fields(body: ImagesBody, model: ModelInfo) -> dict[str, Any]:
    """The native body of text2image. Raises ApiError 400 for a size that the model does not draw."""
    check_size(body.size, model)
    fields: dict[str, Any] = {
        "prompt": body.prompt,
        "n": body.n or 1,
        "format": body.output_format or "png",
        "partial_images": (body.partial_images or 0) if body.stream else 0,
        **_given(body, "seed", "candidates", "guidance", "top_k", "top_p"),
        **_temperature(body.temperature),
    }
    if isinstance(body, EditsBody):
        # Without a mask the picture's own transparency says where to draw, as OpenAI has it.
        fields["image_prompt"] = {"image": body.image, "mask": body.image if body.mask is None else body.mask}
    return fields


def size_of(model: ModelInfo) -> str:
    return f"{model.output_pixels}x{model.output_pixels}"


def check_size(size: str | None, model: ModelInfo) -> None:
    if size not in (None, "auto", size_of(model)):
        message = f"size must be auto or {size_of(model)}, which the loaded model draws; got {size}."
        raise ApiError(400, "invalid_size", message, param="size")


def chat_fields(body: ChatBody, model: ModelInfo) -> tuple[Task, dict[str, Any]]:
    """An answer where the checkpoint can answer and a question was asked, else a caption.

    A question to a checkpoint that only describes is refused: a description would pass for its answer.
    """
    parts = [part for message in body.messages for part in message.content if message.role != "assistant"]
    pictures = [part.image_url.url for part in parts if part.image_url is not None]
    asked = [part.text for m in body.messages if m.role == "user" for part in m.content if part.text]
    question = " ".join(asked).strip()
    if len(pictures) > 1:
        raise invalid(
            "messages hold more than one picture; send one image_url.",
            param="messages",
            code="invalid_messages",
        )
    longest = min(body.max_completion_tokens or body.max_tokens or 10**6, model.right_text_length)
    if question and Task.ANSWER in model.tasks:
        fields: dict[str, Any] = {"question": question, "max_tokens": longest}
        return Task.ANSWER, fields | ({"image": pictures[0]} if pictures else {})
    if not pictures:
        message = (
            "messages hold no picture. The loaded checkpoint describes pictures: send one image_url part "
            "with a data URI. To continue a text use /v1/completions."
        )
        raise invalid(message, param="messages", code="invalid_messages")
    if question:
        message = (
            f"The loaded checkpoint {model.name} describes pictures and cannot follow a text about one. "
            "Leave the text out to get the description; `template` gives the words that it begins with."
        )
        raise invalid(message, param="messages", code="question_unsupported")
    fields = {"image": pictures[0], "max_tokens": longest, **_choices(body)}
    return Task.IMAGE2TEXT, fields | ({"template": body.template} if body.template else {})


def completion_fields(body: CompletionBody, model: ModelInfo) -> dict[str, Any]:
    longest = min(body.max_tokens or 10**6, model.left_text_length)
    return {"prompt": body.prompt, "max_tokens": longest, **_choices(body)}


def images_reply(
    status: JobStatus, result: ImagesResult, model: ModelInfo, output_format: str
) -> dict[str, Any]:
    return {
        "created": int(status.timings.created_s),
        "data": [{"b64_json": base64_text(image.data), "seed": image.seed} for image in result.images],
        "background": "opaque",
        "output_format": output_format,
        "size": size_of(model),
        "usage": image_usage(result.usage),
    }


def chat_reply(status: JobStatus, result: Result) -> dict[str, Any]:
    choices = [
        {
            "index": place,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
        for place, text in enumerate(texts_of(result))
    ]
    return _completion(status, result.usage, "chat.completion", choices)


def completion_reply(status: JobStatus, result: Result, body: CompletionBody) -> dict[str, Any]:
    choices = [
        {"index": place, "text": continuation(text, body), "logprobs": None, "finish_reason": "stop"}
        for place, text in enumerate(texts_of(result))
    ]
    return _completion(status, result.usage, "text_completion", choices)


def texts_of(result: Result) -> Sequence[str]:
    if isinstance(result, AnswerResult):
        return [result.answer]
    return [text.text for text in result.texts] if isinstance(result, TextsResult) else []


def continuation(text: str, body: CompletionBody) -> str:
    """The text behind the prompt; the model gives both, lower-cased. `echo` keeps the prompt."""
    prompt = " ".join(body.prompt.lower().split())
    return text if body.echo else text.removeprefix(prompt)


def image_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "image_tokens": usage.input_image_tokens,
            "text_tokens": usage.input_tokens - usage.input_image_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"image_tokens": usage.output_tokens, "text_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def text_usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def model_entry(model: ModelInfo) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": int(model.created_s),
        "owned_by": "rudolph",
        "revision": model.revision,
        "tasks": [str(task) for task in model.tasks],
        "size": size_of(model),
    }


def _completion(status: JobStatus, usage: Usage, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": status.id,
        "object": kind,
        "created": int(status.timings.created_s),
        "model": status.model or "",
        "choices": choices,
        "usage": text_usage(usage),
    }


def _choices(body: TextChoiceFields) -> dict[str, Any]:
    fields = {"n": body.n or 1, **_given(body, "seed", "candidates", "top_p", "top_k")}
    if body.stream:
        # Partial texts are those of one candidate; the best of several is known only at the end.
        fields["candidates"] = fields["n"]
    return fields | _temperature(body.temperature)


def _temperature(temperature: float | None) -> dict[str, Any]:
    """Temperature 0 means the likeliest token, which this server calls top_k 1."""
    if temperature is None:
        return {}
    return {"temperature": temperature} if temperature >= 0.01 else {"top_k": 1}


def _given(body: ImagesBody | TextChoiceFields, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(body, name)) is not None}
