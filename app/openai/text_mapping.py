"""Translates chats and completions to native bodies, and results to OpenAI's replies. Knows no HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.errors import ApiError, invalid
from app.field_errors import FieldNames
from app.openai.replies import (
    ChatChoice,
    ChatMessage,
    ChatReply,
    CompletionChoice,
    CompletionReply,
    result_warnings,
    text_usage,
)
from app.openai.sampling import given, sampling_fields
from app.openai.schemas import ChatBody, CompletionBody, SamplingFields, TextBody
from app.tasks.base import WarningReply
from jobs.contract.requests import Task
from jobs.contract.results import AnswerResult, FinishReason, Result, TextsResult
from jobs.contract.status import JobStatus
from jobs.contract.worker_info import ModelInfo

CHAT_NAMES = FieldNames(aliases={"image": "messages", "question": "messages"})
COMPLETION_NAMES = FieldNames()
ChatText = Literal["caption", "template", "refuse"]
"""What a checkpoint that only describes images does with a text beside one."""
_NO_LIMIT = 10**6
_OWN_IMAGES = WarningReply(
    code="images_ignored", message="Images of assistant messages were ignored.", param="messages"
)


@dataclass(frozen=True)
class Chat:
    """The task of a chat, its native body, and what of the messages had no effect."""

    task: Task
    fields: dict[str, Any]
    warnings: list[WarningReply]


@dataclass(frozen=True)
class Choice:
    text: str
    finish_reason: FinishReason
    num_tokens: int


@dataclass(frozen=True)
class ReplyHead:
    """The fields of a text reply that do not depend on the result."""

    model: str
    system_fingerprint: str
    warnings: list[WarningReply]


def map_chat(body: ChatBody, model: ModelInfo, chat_text: ChatText) -> Chat:
    """Return an answer to a question, else a caption. Raises ApiError for messages that fit neither."""
    parts = [(message.role, part) for message in body.messages for part in message.content]
    images = [part.image_url.url for role, part in parts if part.image_url and role != "assistant"]
    texts = [part.text for role, part in parts if part.text and role == "user"]
    others = [part.text for role, part in parts if part.text and role != "user"]
    warnings = [_OWN_IMAGES] if any(part.image_url and role == "assistant" for role, part in parts) else []
    question = " ".join(texts).strip()
    if len(images) > 1:
        raise _refused("messages hold more than one image; send one image_url.")
    max_tokens = min(body.max_completion_tokens or body.max_tokens or _NO_LIMIT, model.right_text_length)
    if question and Task.ANSWER in model.tasks:
        if (body.n or 1) > 1:
            raise ApiError(400, "unsupported_parameter", "A question has one answer. Send n = 1.", param="n")
        return Chat(
            Task.ANSWER,
            {"question": question, "max_tokens": max_tokens, **given(body, "stop")}
            | ({"image": images[0]} if images else {}),
            warnings
            + ([_ignored("System and assistant texts were ignored.")] if any(others) else [])
            + [
                WarningReply(code="no_effect", message=f"{name} has no effect on an answer.", param=name)
                for name in (*SamplingFields.model_fields, "best_of", "candidates", "seed", "template")
                if getattr(body, name) is not None
            ],
        )
    if not images:
        raise _refused(
            "messages hold no image. The loaded checkpoint describes images: send one image_url part with a "
            "data URI. To continue a text, use /v1/completions."
        )
    has_text = bool(question or any(text.strip() for text in others))
    if has_text and chat_text == "refuse":
        raise _refused(
            f"The loaded checkpoint {model.name} describes images and cannot follow a text about one. Omit "
            "the text to get the description; `template` gives its first words.",
            code="question_unsupported",
        )
    fields = {"image": images[0], "max_tokens": max_tokens, **_choices(body)}
    template = body.template
    if has_text and chat_text == "template" and template is None and texts:
        template = texts[-1]
        has_text = len(texts) > 1 or bool(others)
    if has_text:
        message = (
            f"The loaded checkpoint {model.name} describes images and cannot follow a text: the texts of the "
            "messages were ignored, and the reply is a description of the image."
        )
        warnings.append(_ignored(message))
    return Chat(Task.IMAGE2TEXT, fields | ({"template": template} if template else {}), warnings)


def completion_fields(body: CompletionBody, prompt: str, model: ModelInfo) -> dict[str, Any]:
    max_tokens = min(body.max_tokens or _NO_LIMIT, model.left_text_length)
    return {"prompt": prompt, "max_tokens": max_tokens, **_choices(body)}


def chat_reply(status: JobStatus, result: Result, head: ReplyHead) -> ChatReply:
    choices = choices_of(result)
    return ChatReply(
        **_head(status, head, result_warnings(result, CHAT_NAMES.of)),
        usage=text_usage(result.usage.input_tokens, sum(choice.num_tokens for choice in choices)),
        choices=[
            ChatChoice(
                index=index,
                message=ChatMessage(content=choice.text),
                finish_reason=choice.finish_reason,
            )
            for index, choice in enumerate(choices)
        ],
    )


def completion_reply(
    results: Sequence[tuple[JobStatus, Result]], body: CompletionBody, head: ReplyHead
) -> CompletionReply:
    """Return the reply. `results`: one for each prompt, in their order."""
    texts: list[tuple[str, Choice]] = []
    warnings: list[WarningReply] = []
    for index, (prompt, (_, result)) in enumerate(zip(body.prompt, results, strict=True)):
        name = "prompt" if len(results) == 1 else f"prompt[{index}]"
        warnings += result_warnings(result, FieldNames(aliases={"prompt": name}).of)
        texts += [(echoed(body, prompt), choice) for choice in choices_of(result, continued=True)]
    return CompletionReply(
        **_head(results[0][0], head, warnings),
        usage=text_usage(
            sum(result.usage.input_tokens for _, result in results),
            sum(choice.num_tokens for _, choice in texts),
        ),
        choices=[
            CompletionChoice(index=index, text=echo + choice.text, finish_reason=choice.finish_reason)
            for index, (echo, choice) in enumerate(texts)
        ],
    )


def echoed(body: CompletionBody, prompt: str) -> str:
    """Return the text before a continuation: the prompt as the client wrote it, if it asked for it."""
    return prompt if body.echo else ""


def choices_of(result: Result, *, continued: bool = False) -> list[Choice]:
    """Return the texts of a result; `continued`: only what follows the tokens of the prompt."""
    if isinstance(result, AnswerResult):
        return [Choice(result.answer, result.finish_reason, result.num_tokens)]
    assert isinstance(result, TextsResult)
    return [
        Choice((text.continuation or "") if continued else text.text, text.finish_reason, text.num_tokens)
        for text in result.texts
    ]


def _head(status: JobStatus, head: ReplyHead, warnings: list[WarningReply]) -> dict[str, Any]:
    return {
        "id": status.id,
        "created": int(status.timings.created_s),
        "model": head.model,
        "system_fingerprint": head.system_fingerprint,
        "warnings": head.warnings + warnings,
    }


def _choices(body: TextBody) -> dict[str, Any]:
    """Return n texts, equal ones too: a client counts on n choices."""
    candidates = body.candidates or body.best_of
    fields = {"n": body.num_choices, "merge": False, **given(body, "seed", "stop"), **sampling_fields(body)}
    if candidates is None and body.stream:
        # Partial texts are those of candidates; the best of several is known only at the end.
        candidates = body.num_choices
    return fields | ({"candidates": candidates} if candidates else {})


def _ignored(message: str) -> WarningReply:
    return WarningReply(code="text_ignored", message=message, param="messages")


def _refused(message: str, code: str = "invalid_messages") -> ApiError:
    return invalid(message, param="messages", code=code)
