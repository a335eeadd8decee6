"""Reads the request headers that steer a job. Knows their syntax; does not know what they change."""

import re
from collections.abc import Sequence

from starlette.requests import Request

from app.errors import ApiError, invalid

DEADLINE_PATTERN = (
    r"^(0\.[1-9][0-9]{0,5}|([1-9][0-9]{0,3}|[1-7][0-9]{4}|8[0-5][0-9]{3}|86[0-3][0-9]{2})(\.[0-9]{1,6})?"
    r"|86400)$"
)
"""A number from 0.1 to 86400 without sign, exponent or leading zeros."""
EVENT_ID_PATTERN = r"^[0-9]{1,20}-[0-9]{1,20}(-end|-[0-9]{1,4})?$"
"""An id of the queue's stream. Events of a result add a number, and the last event of a job adds `-end`."""
JSON_TYPE = "application/json"
MAX_ACCEPTED = 64
_WEIGHT = r"[01](\.[0-9]{0,3})?"
KEY_PATTERN = r"^[!-~]([ -~]{0,253}[!-~])?$"


def announced_bytes(request: Request) -> int:
    """Return the body's size by Content-Length; 0 without a valid one."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0


def idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not re.fullmatch(KEY_PATTERN, key):
        message = "Idempotency-Key must be 1–255 visible ASCII characters, such as a UUID."
        raise ApiError(400, "invalid_idempotency_key", message, param="Idempotency-Key")
    return key


def prefers_async(request: Request) -> bool:
    """Return whether `Prefer` has `respond-async` (RFC 7240). Other preferences are ignored."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(part.partition(";")[0].strip().lower() == "respond-async" for part in preferences)


def deadline(request: Request) -> float | None:
    """Return the seconds of `x-deadline-s`, or None."""
    text = request.headers.get("x-deadline-s")
    if text is None:
        return None
    if not re.fullmatch(DEADLINE_PATTERN, text):
        raise invalid("x-deadline-s must be a number of seconds between 0.1 and 86400.", param="x-deadline-s")
    return float(text)


def sdk_retry_count(request: Request) -> int | None:
    """Return how often OpenAI's SDK has sent this request before; None for another client."""
    count = request.headers.get("x-stainless-retry-count", "")[:4]
    return int(count) if count.isascii() and count.isdigit() else None


def preferred_type(
    request: Request, offered: Sequence[str], *, default: str | None = JSON_TYPE
) -> str | None:
    """Return the offered media type that `Accept` prefers (RFC 9110 §12.5.1), or `default`.

    Of types with the same weight, the one that the header names first wins, then the one offered first.
    """
    ranges = _accepted_ranges(",".join(request.headers.getlist("accept")) or "*/*")
    best: tuple[float, int, int, str] | None = None
    for order, kind in enumerate(offered):
        matching = [
            (specificity, -place, weight)
            for place, (pattern, weight) in enumerate(ranges)
            if (specificity := _specificity(pattern, kind)) is not None
        ]
        if not matching:
            continue
        _, place, weight = max(matching)
        if weight > 0 and (best is None or (weight, place, -order) > best[:3]):
            best = (weight, place, -order, kind)
    return best[3] if best else default


def _accepted_ranges(header: str) -> list[tuple[str, float]]:
    ranges: list[tuple[str, float]] = []
    for part in header.split(",")[:MAX_ACCEPTED]:
        pattern, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights = [value for name, _, value in (p.partition("=") for p in parameters) if name.strip() == "q"]
        weight = weights[0].strip() if weights else "1"
        ranges.append((pattern, float(weight) if re.fullmatch(_WEIGHT, weight) else 1.0))
    return ranges


def _specificity(pattern: str, kind: str) -> int | None:
    """Return how exactly a range of `Accept` names a type: 2, 1 for `image/*`, 0 for `*/*`, None for not."""
    if pattern == kind:
        return 2
    if pattern == kind.partition("/")[0] + "/*":
        return 1
    return 0 if pattern == "*/*" else None


def last_event_id(request: Request) -> str | None:
    event_id = request.headers.get("last-event-id")
    if event_id is not None and not re.fullmatch(EVENT_ID_PATTERN, event_id):
        message = "Last-Event-ID must be the id of an event of this stream, such as 1700000000000-0."
        raise invalid(message, param="Last-Event-ID")
    return event_id


def accepted_image(request: Request, own: Sequence[str], num_images: int) -> str | None:
    """Return the media type of the image bytes that `Accept` prefers to JSON; None for JSON.

    own: the image types that the route offers. Raises ApiError if only bytes are accepted, of several images.
    """
    kind = preferred_type(request, (JSON_TYPE, *own))
    if kind is None or kind == JSON_TYPE:
        return None
    if num_images == 1:
        return kind
    if preferred_type(request, (JSON_TYPE,), default=None):
        return None
    message = f"Accept: {kind} needs n = 1. Send n = 1, or accept application/json."
    raise invalid(message, param="n", code="one_picture_only")
