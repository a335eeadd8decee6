"""The one table from exception to status and body, and the shape of every error.

`{"error": {"message", "type", "param", "code"}}` always has all four keys, because the official `openai` SDK
shows the message only then. A message states the fault and the remedy, and holds no stack trace and no path
of the server.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobs.contract.errors import (
    AdmissionError,
    CodecError,
    IdempotencyConflict,
    JobNotFound,
    OutcomeUnknown,
    QueueError,
    QueueFull,
    QueueUnavailable,
    TenantQuotaExceeded,
)
from jobs.contract.results import JobFailure

MAX_RETRY_AFTER_S = 120
CLIENT_CLOSED_REQUEST = 499
"""The status in metrics and logs of a request whose client left. It is never sent."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

_QUEUE_ERRORS: Mapping[type[QueueError], tuple[int, str, int | None, str | None]] = {
    QueueFull: (503, "queue_full", None, None),
    TenantQuotaExceeded: (429, "tenant_quota_exceeded", None, None),
    IdempotencyConflict: (422, "idempotency_key_reused", None, "Idempotency-Key"),
    OutcomeUnknown: (503, "outcome_unknown", 1, None),
    QueueUnavailable: (503, "queue_unavailable", 5, None),
    JobNotFound: (404, "job_not_found", None, "id"),
    CodecError: (500, "unreadable_job", None, None),
}
"""Status, code, Retry-After for errors without their own, and param."""

_FAILURES: Mapping[str, int] = {
    "unsupported_task": 409,
    "model_changed": 503,
    "context_length_exceeded": 422,
    "cancelled": 409,
    "expired": 504,
    "deadline_exceeded": 504,
}
"""Status by failure code of a job. Codes that begin with `invalid_` are 422; all others are 500."""


class ErrorBody(BaseModel):
    """What is wrong, for people and for programs."""

    message: str = Field(description="What is wrong and what to do.")
    type: str = Field(
        description="Kind of the error, as in OpenAI's API: invalid_request_error, server_error …"
    )
    param: str | None = Field(description="JSON path of the field at fault.")
    code: str | None = Field(description="Stable, for programs.")


class ErrorReply(BaseModel):
    error: ErrorBody


class ApiError(Exception):
    """An error reply. `param` is the JSON path of the field at fault."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(min(max(int(-(-retry_after_s // 1)), 1), MAX_RETRY_AFTER_S))
        if status == HTTPStatus.GATEWAY_TIMEOUT:
            # Otherwise the official SDK sends the request twice more, and waits each time.
            self.headers["x-should-retry"] = "false"

    @property
    def type(self) -> str:
        if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "server_error"
        return _TYPES.get(self.status, "invalid_request_error")

    def reply(self) -> ErrorReply:
        body = ErrorBody(
            message=printable(self.message),
            type=self.type,
            param=None if self.param is None else printable(self.param),
            code=self.code,
        )
        return ErrorReply(error=body)

    def response(self) -> Response:
        return _ErrorResponse(self)


class _ErrorResponse(Response):
    """Puts the code of its error on the scope, for logs and metrics."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(
            error.reply().model_dump_json(by_alias=True),
            status_code=error.status,
            headers=error.headers,
            media_type="application/json",
        )
        self._code = error.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["error_code"] = self._code
        await super().__call__(scope, receive, send)


class FieldError(Exception):
    """A field of a task is refused by a rule of the task or of the loaded model.

    `predicate` completes the sentence that begins with the field's name: "must be 16 or less; got 17."
    `param` is the path in the task's own body. A client may know the field by another name.
    """

    def __init__(self, param: str, predicate: str, *, code: str = "invalid_value") -> None:
        super().__init__(f"{param} {predicate}")
        self.param = param
        self.predicate = predicate
        self.code = code

    def named(self, name_of: Callable[[str], str]) -> ApiError:
        """Return the error with the client's name of the field."""
        name = name_of(self.param)
        return invalid(f"{name} {self.predicate}", param=name, code=self.code)


class ClientGone(Exception):
    """The client closed its connection, so no reply can be sent."""


def json_response(
    reply: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Encode a reply model as JSON. NaN and infinity become null."""
    return Response(
        reply.model_dump_json(by_alias=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


def printable(text: str) -> str:
    """Return a client's text in a form that can be encoded and is at most 1,000 characters long."""
    short = text if len(text) <= 1000 else f"{text[:1000]}…"
    return short.encode("utf-8", "backslashreplace").decode("utf-8")


def invalid(message: str, *, param: str | None = None, code: str = "invalid_value") -> ApiError:
    return ApiError(422, code, message, param=param)


def api_error_of(error: Exception) -> ApiError:
    """Return the error reply for any exception; 500 for one that is not in the table."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueError):
        for kind, (status, code, retry_after_s, param) in _QUEUE_ERRORS.items():
            if isinstance(error, kind):
                wait_s = error.retry_after_s if isinstance(error, AdmissionError) else retry_after_s
                return ApiError(status, code, str(error) or code, param=param, retry_after_s=wait_s)
    return internal_error()


def from_failure(failure: JobFailure, *, param: str | None = None) -> ApiError:
    """Return the error reply of a job that has no result. `param`: the client's name of the field."""
    status = _FAILURES.get(failure.code, 422 if failure.code.startswith("invalid_") else 500)
    return ApiError(status, failure.code, failure.message, param=param or failure.param)


def deadline_passed(deadline_s: float) -> ApiError:
    return ApiError(
        504,
        "deadline_exceeded",
        f"The request was not finished within its deadline of {deadline_s:g} s and was cancelled. Ask for "
        "fewer candidates, or send `Prefer: respond-async` and collect the result from /v1/jobs/{id}.",
    )


def internal_error() -> ApiError:
    return ApiError(
        500,
        "internal_error",
        "The server failed to process the request. Its log has the details under the request id.",
    )


def from_status(status: int, detail: str, method: str, path: str) -> ApiError:
    """Return the error reply for a refusal of the router: no such path, or no such method."""
    if status == HTTPStatus.NOT_FOUND:
        return ApiError(404, "not_found", f"There is nothing at {path}. /docs lists every route.")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{path} does not support {method}. /docs lists every route."
        return ApiError(405, "method_not_allowed", message)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal_error()
    return ApiError(status, HTTPStatus(status).phrase.lower().replace(" ", "_"), detail)
