"""The one table from domain error to status and body, and the shape that every error has.

`{"error": {"message", "type", "param", "code"}}`: all four keys, always, so that the official `openai` SDK
shows the message. A message says what is wrong and what to do; it never holds a stack trace or a path of the
server.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from jobs.errors import (
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
from jobs.results import JobFailure

MAX_RETRY_AFTER_S = 120
CLIENT_CLOSED_REQUEST = 499
"""Nobody reads this status; it marks the request in metrics and logs."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

_QUEUE_ERRORS: Mapping[type[QueueError], tuple[int, str, int | None]] = {
    QueueFull: (503, "queue_full", None),
    TenantQuotaExceeded: (429, "tenant_quota_exceeded", None),
    IdempotencyConflict: (422, "idempotency_key_reused", None),
    OutcomeUnknown: (503, "outcome_unknown", 1),
    QueueUnavailable: (503, "queue_unavailable", 5),
    JobNotFound: (404, "job_not_found", None),
    CodecError: (500, "unreadable_job", None),
}
"""Status, code, and Retry-After where the error does not bring its own."""

_FAILURES: Mapping[str, int] = {
    "unsupported_task": 409,
    "cancelled": 409,
    "expired": 504,
    "deadline_exceeded": 504,
}
"""Status of a job's failure code. Codes that begin with `invalid_` are 422; all others are the server's
fault.
"""


class ApiError(Exception):
    """An answer that is an error. `param` is the JSON path of the field at fault."""

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
            # The official SDK would otherwise pay for the whole wait twice more.
            self.headers["x-should-retry"] = "false"

    @property
    def type(self) -> str:
        if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "server_error"
        return _TYPES.get(self.status, "invalid_request_error")

    def body(self) -> dict[str, dict[str, str | None]]:
        return {
            "error": {
                "message": printable(self.message),
                "type": self.type,
                "param": None if self.param is None else printable(self.param),
                "code": self.code,
            }
        }

    def response(self) -> Response:
        return json_response(self.body(), status=self.status, headers=self.headers)


class ClientGone(Exception):
    """The client closed its connection; nothing can be answered."""


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Encode plain data; a float that is no number becomes null, since JSON has no word for it."""
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


def printable(text: str) -> str:
    """Text from a client as it may stand in a reply: lone surrogates cannot be encoded, long text is cut."""
    short = text if len(text) <= 1000 else f"{text[:1000]}…"
    return short.encode("utf-8", "backslashreplace").decode("utf-8")


def invalid(message: str, *, param: str | None = None, code: str = "invalid_value") -> ApiError:
    return ApiError(422, code, message, param=param)


_QUEUE_ERROR_PARAMS: dict[type[QueueError], str] = {IdempotencyConflict: "Idempotency-Key", JobNotFound: "id"}


def from_queue_error(error: QueueError) -> ApiError:
    for kind, (status, code, retry_after_s) in _QUEUE_ERRORS.items():
        if isinstance(error, kind):
            wait_s = error.retry_after_s if isinstance(error, AdmissionError) else retry_after_s
            param = _QUEUE_ERROR_PARAMS.get(kind)
            return ApiError(status, code, str(error) or code, param=param, retry_after_s=wait_s)
    return internal_error()


def from_failure(failure: JobFailure) -> ApiError:
    status = _FAILURES.get(failure.code, 422 if failure.code.startswith("invalid_") else 500)
    return ApiError(status, failure.code, failure.message, param=failure.param)


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
        "The server failed while answering. The log has the details under the request id.",
    )


def from_status(status: int, detail: str, method: str, path: str) -> ApiError:
    """The router's own refusals: no such path, or no such method there."""
    if status == HTTPStatus.NOT_FOUND:
        return ApiError(404, "not_found", f"There is nothing at {path}. /docs lists every route.")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return ApiError(
            405, "method_not_allowed", f"{path} does not answer {method}. /docs lists every route."
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal_error()
    return ApiError(status, HTTPStatus(status).phrase.lower().replace(" ", "_"), detail)
