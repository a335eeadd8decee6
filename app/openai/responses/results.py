"""Builds the reply of `/v1/responses` from the result of a job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.errors import ApiError
from app.field_errors import FieldNames
from app.openai.rendering import Rendering
from app.openai.replies import images_usage, result_warnings
from app.openai.responses.replies import (
    ImageCall,
    IncompleteDetails,
    OutputMessage,
    OutputText,
    ResponseFault,
    ResponsesReply,
    ResponsesUsage,
)
from app.openai.text_mapping import Choice, choices_of
from app.tasks.base import WarningReply, base64_text
from jobs.contract.results import ImagesResult, Result
from jobs.contract.status import JobStatus

STORED, IMMEDIATE = "resp_", "resp_once_"
"""Prefixes of ids. Only a response in the background is stored: as its job, which knows no other size."""


@dataclass(frozen=True)
class ResponseHead:
    """What of a response does not depend on the result."""

    job_id: str
    created_s: float
    model: str
    background: bool = False
    echoed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the request that the reply repeats."""
    warnings: tuple[WarningReply, ...] = ()

    @property
    def id(self) -> str:
        prefix = STORED if self.background else IMMEDIATE
        return prefix + self.key

    @property
    def key(self) -> str:
        return self.job_id.removeprefix("job_")

    def reply(self, status: str, **fields: Any) -> ResponsesReply:
        return ResponsesReply.model_validate(
            {
                "id": self.id,
                "created_at": int(self.created_s),
                "model": self.model,
                "background": self.background,
                "store": self.background,
                "warnings": list(self.warnings),
                "output": [],
                **self.echoed,
                **fields,
                "status": status,
            }
        )

    def message(self, choice: Choice | None) -> OutputMessage:
        """Return the message; without a choice, one that has just begun."""
        if choice is None:
            return OutputMessage(id=f"msg_{self.key}", status="in_progress", content=[])
        status = "incomplete" if choice.finish_reason == "length" else "completed"
        return OutputMessage(id=f"msg_{self.key}", status=status, content=[OutputText(text=choice.text)])

    def image(self, **fields: Any) -> ImageCall:
        """Return the call of the tool; without `result`, one that has just begun."""
        begun = {"id": f"ig_{self.key}", "status": "in_progress", "result": None}
        return ImageCall.model_validate(begun | fields)


def shown_fields(rendering: Rendering, action: str) -> dict[str, str]:
    return {"output_format": rendering.format, "size": rendering.size, "action": action}


def text_reply(head: ResponseHead, status: JobStatus, result: Result, names: FieldNames) -> ResponsesReply:
    choice = choices_of(result)[0]
    cut = choice.finish_reason == "length"
    input_tokens, output_tokens = result.usage.input_tokens, choice.num_tokens
    return head.reply(
        "incomplete" if cut else "completed",
        completed_at=_finished(status),
        output=[head.message(choice)],
        incomplete_details=IncompleteDetails() if cut else None,
        usage=_usage(input_tokens, output_tokens),
        warnings=[*head.warnings, *result_warnings(result, names.of)],
    )


def image_reply(
    head: ResponseHead,
    status: JobStatus,
    result: ImagesResult,
    file: bytes,
    names: FieldNames,
    *,
    shown: Mapping[str, str],
) -> ResponsesReply:
    """Return the reply: the image, and an empty message, without which agents ask again.

    `shown`: fields of the call that describe the image.
    """
    seed = result.images[0].seed
    call = head.image(**shown, status="completed", result=base64_text(file), seed=seed)
    usage = images_usage(result.usage)
    return head.reply(
        "completed",
        completed_at=_finished(status),
        output=[call, head.message(Choice("", "stop", 0))],
        usage=_usage(usage.input_tokens, usage.output_tokens),
        warnings=[*head.warnings, *result_warnings(result, names.of)],
    )


def failed_reply(head: ResponseHead, error: ApiError) -> ResponsesReply:
    body = error.reply().error
    return head.reply("failed", error=ResponseFault(code=body.code or "server_error", message=body.message))


def _usage(input_tokens: int, output_tokens: int) -> ResponsesUsage:
    return ResponsesUsage(
        input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=input_tokens + output_tokens
    )


def _finished(status: JobStatus) -> int | None:
    finished_s = status.timings.finished_s
    return None if finished_s is None else int(finished_s)
