"""What Schemathesis cannot know of this server: how a picture looks, and which rules tie fields together.

Loaded by `schemathesis.toml`. Knows the document's own formats and the server's error codes; starts nothing.
"""

import base64
import io
import itertools
import os
import random
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.core.failures import AcceptedNegativeData, Failure, ServerError
from schemathesis.openapi.checks import EnsureResourceAvailability, RejectedPositiveData

from app.example_images import EXAMPLE_IMAGE
from app.headers import EVENT_ID_PATTERN

RULES_BETWEEN_FIELDS = frozenset(
    {
        "too_few_candidates",  # candidates >= n
        "invalid_borders",  # leave some of the loaded model's cells to be drawn
        "invalid_image_prompt",  # borders or mask, exactly one
        "invalid_mask",  # of the picture's size, with transparency
        "invalid_codes",  # as many as the loaded model has cells, each within its codebook
        "invalid_max_tokens",  # at most the loaded model's region
        "invalid_size",  # what the loaded model draws
        "invalid_duplicate",  # two classes that the model reads as one text
        "invalid_text",  # at least one token of the model's vocabulary
        "invalid_stream",  # a queued job does not stream its answer
        "invalid_messages",  # one picture, and a question only to a checkpoint that answers
        "question_unsupported",
        "context_length_exceeded",  # a prompt leaves room for generated tokens
        "invalid_output_compression",  # a png is lossless
        "unsupported_documents",  # a text and images, or an image and texts
        "unsupported_input",  # messages of texts and images
        "invalid_tool_choice",  # a tool that is among the tools
        "model_not_found",  # the name of the loaded model
        "unsupported_parameter",  # a field of OpenAI that this server does not do
        "one_picture_only",  # Accept: image/png with n > 1
        "idempotency_key_reused",
        "invalid_picture",  # only a decoder can decide this; the hostile corpus tests it
        "unsupported_picture_format",
    }
)
"""Codes of refusals that a schema of single fields cannot foresee. Any other refusal of data that fits the
document is a fault of one of the two."""

LIST_AS_ONE_FIELD = re.compile(
    r"(texts|classes|images): Incorrect type|/(texts|classes|images) \(was array, became"
)
NOT_TEXT = re.compile(r"violates `type` at /properties/\w+(/items)? \(was string, became")
USUAL = {"candidates": (8, 256), "n": (4, 16), "partial_images": (3, 64)}
"""What is asked for at most, of what may be: hundreds of candidates would only make the run long."""
USUAL_ITEMS = 8


def _picture(kind: str, mode: str, width: int, height: int, seed: int) -> bytes:
    noise = random.Random(seed).randbytes(width * height * len(Image.new(mode, (1, 1)).getbands()))
    sink = io.BytesIO()
    Image.frombytes(mode, (width, height), noise).save(sink, kind)
    return sink.getvalue()


pictures = st.builds(
    _picture,
    st.sampled_from(["PNG", "WEBP"]),
    st.sampled_from(["RGB", "RGBA"]),
    st.sampled_from([16, 24, 32, 40]),
    st.sampled_from([16, 24, 32, 40]),
    st.integers(0, 3),
) | st.builds(
    _picture, st.just("JPEG"), st.sampled_from(["RGB", "L", "CMYK"]), st.just(32), st.just(32), st.just(1)
)


def _as_text(data: bytes, *, with_prefix: bool) -> str:
    text = base64.b64encode(data).decode()
    return f"data:image/png;base64,{text}" if with_prefix else text


schemathesis.openapi.format("picture", st.builds(_as_text, pictures, with_prefix=st.booleans()))
schemathesis.openapi.format("picture-uri", st.builds(_as_text, pictures, with_prefix=st.just(True)))
schemathesis.openapi.format("picture-file", pictures)
schemathesis.openapi.format(
    "borders", st.builds('{{"up": {}, "left": {}}}'.format, st.integers(0, 3), st.integers(0, 3))
)


_numbers = itertools.count()


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case, __: dict[str, Any]) -> None:
    """Make most idempotency keys unique, so that most requests are computed."""
    number, headers = next(_numbers), case.headers or {}
    key = headers.get("Idempotency-Key")
    if number % 8 and isinstance(key, str) and re.fullmatch("[!-~]{1,240}", key):
        headers["Idempotency-Key"] = f"{key}{os.getpid()}-{number}"


@schemathesis.hook
def map_case(_: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return case  # what is wrong with it must stay
    for fields in (case.body, case.body.get("input") if isinstance(case.body, dict) else None):
        if isinstance(fields, dict):
            _make_cheap(fields)
            _fit_the_model(fields)
    return case


def _make_cheap(fields: dict[str, Any]) -> None:
    """Large values become small ones."""
    for name, (usual, most) in USUAL.items():
        value = fields.get(name)
        if isinstance(value, int) and usual < value <= most:
            fields[name] = value % usual + 1
    n, candidates = fields.get("n"), fields.get("candidates")
    if isinstance(n, int) and isinstance(candidates, int) and candidates < n:
        fields["candidates"] = n
    for name in ("texts", "classes", "images"):
        if isinstance(fields.get(name), list):
            fields[name] = fields[name][:USUAL_ITEMS]


def _fit_the_model(fields: dict[str, Any]) -> None:
    """Half of what fits the document is made to fit the checkpoint too; the rest shows that it is refused."""
    fields.pop("model", None)
    if len(fields) % 2:
        return
    if isinstance(fields.get("size"), str):
        fields["size"] = "auto"
    if isinstance(max_tokens := fields.get("max_tokens"), int) and 16 < max_tokens <= 4096:
        fields["max_tokens"] = max_tokens % 16 + 1
    messages = fields.get("messages")
    if isinstance(messages, list) and all(isinstance(message, dict) for message in messages) and messages:
        picture = {"type": "image_url", "image_url": {"url": EXAMPLE_IMAGE}}
        fields["messages"] = [{**messages[0], "role": "user", "content": [picture]}]


@schemathesis.hook
def filter_failure(
    _: schemathesis.HookContext, failure: Failure, case: schemathesis.Case, response: schemathesis.Response
) -> bool:
    if isinstance(failure, ServerError) and response.status_code == 504:
        # A client that gives a tenth of a second gets what it asked for.
        return "x-deadline-s" not in response.request.headers
    if isinstance(failure, EnsureResourceAvailability):
        # Only a response in the background is stored.
        return "/v1/responses/resp_once_" not in str(response.request.url)
    if isinstance(failure, AcceptedNegativeData):
        return not (_is_form(case) and _fits_as_a_form(failure.message, case))
    if isinstance(failure, RejectedPositiveData) and response.status_code in (400, 404, 422):
        error = response.json()["error"]
        return not _is_foreseen(error["code"], error["param"], response)
    return True


def _is_foreseen(code: str, param: str | None, response: schemathesis.Response) -> bool:
    if code in RULES_BETWEEN_FIELDS:
        return True
    # A text that is drawn has the bounds of a prompt; one beside an image has not.
    if param == "input" and response.request.url.endswith("/v1/responses"):
        return True
    if param == "parameters.best_of":  # 1 for a stream
        return True
    # Schemathesis takes a header that is called an id for a number at times.
    return param == "Last-Event-ID" and not re.fullmatch(EVENT_ID_PATTERN, response.request.headers[param])


def _fits_as_a_form(message: str, case: schemathesis.Case) -> bool:
    """A form repeats a field to say a list; so one is a list of one, all is text, and null is not sent."""
    return bool(LIST_AS_ONE_FIELD.search(message) or NOT_TEXT.search(message) or _extra_is_lost(case))


def _extra_is_lost(case: schemathesis.Case) -> bool:
    """Return whether an unknown field was lost, because a form cannot contain null or an empty list."""
    body, form = case.body, case.operation.get_body_for_media_type("multipart/form-data")
    known = set(form.form_properties) if form else set[str]()
    return isinstance(body, dict) and any(
        value is None or (isinstance(value, list) and all(item is None for item in value))
        for name, value in body.items()
        if name not in known
    )


def _is_form(case: schemathesis.Case) -> bool:
    return case.media_type == "multipart/form-data"
