"""The parts of the OpenAPI document that FastAPI cannot derive.

Bodies and most headers are read by hand, within limits of their own, so that they are described here.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from app.bodies import MultipartForm
from app.errors import MAX_RETRY_AFTER_S, ErrorReply
from app.form_schema import form_schema
from app.headers import DEADLINE_PATTERN, EVENT_ID_PATTERN, KEY_PATTERN
from app.replies import JobReply
from app.sse import NATIVE_DATA
from app.tasks.base import TaskRoute

Json = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

DESCRIPTION = (
    "Inference server for RuDOLPH, the Russian text-image-text transformer. Every error is "
    '`{"error": {"message", "type", "param", "code"}}`; every reply has `x-request-id`. Images are '
    "base64, data URIs or multipart files, never URLs."
)
TAGS: list[Json] = [
    {"name": "tasks", "description": "One route for each task; the reply is the result."},
    {"name": "jobs", "description": "The same tasks as jobs: submit now, read the result later."},
    {"name": "openai", "description": "The same model with OpenAI's routes, for the official SDK."},
    {"name": "huggingface", "description": "The same model with the task API of Hugging Face's hub."},
    {"name": "operations", "description": "Health and metrics."},
]
_REPLIES = Path(__file__).with_name("reply_examples.json")
SCHEMA_PATH = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request cannot be read: not JSON, not multipart, a broken header. On OpenAI's routes also: a "
    "field is wrong.",
    401: "No API key, or an unknown one.",
    404: "There is nothing with this name or id.",
    408: "The headers or the body arrived too slowly.",
    409: "The loaded checkpoint cannot do this, or the job was cancelled.",
    413: "The body or an image is too large.",
    415: "The body's Content-Type is not one of those described, or its charset is not UTF-8.",
    422: "A field is wrong; `param` names it.",
    429: "A quota of this key or tenant is used up; see Retry-After.",
    431: "The headers are too large.",
    500: "The server failed.",
    503: "The queue is full, cannot be reached, or has no worker yet; see Retry-After.",
    504: "The deadline passed; the job was cancelled.",
}
READING_ERRORS = (400, 401, 408, 429, 431, 500, 503)
"""Statuses of any route."""
BODY_ERRORS = (*READING_ERRORS, 409, 413, 415, 422, 504)
"""Statuses of a route with a body."""

_REQUEST_ID: Json = {
    "description": "The request's own x-request-id, or a new one; it is in the log.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
}
_RETRY_AFTER: Json = {
    "description": "Seconds to wait.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_RETRY_AFTER_S},
}
_EVENT: Json = {
    "type": "object",
    "description": "With `stream`. Native streams have the events `state`, `progress`, `partial_image` and "
    "`partial_text`, and end with `completed`, which has the full reply, or `error`.",
    "properties": {
        "event": {
            "type": "string",
            "description": "The kind of the event, which decides about `data`. Chats, completions and the "
            "hub's texts have none.",
        },
        "id": {
            "type": "string",
            "pattern": EVENT_ID_PATTERN,
            "description": "For the header Last-Event-ID of a client that continues the stream.",
        },
    },
    "required": ["data"],
}


SEED_HEADER: Json = {
    "x-seed": {
        "description": "The seed of the image, of a reply that is an image file.",
        "schema": {"type": "integer"},
    }
}
_JOB_HEADER: Json = {
    "x-job-id": {
        "description": "The job of the request, of a stream or of an image file.",
        "schema": {"type": "string"},
    }
}
COMPATIBLE_HEADERS: Json = {
    "x-job-id": {"description": "The job of the request.", "schema": {"type": "string"}},
    "openai-processing-ms": {
        "description": "Milliseconds from acceptance until the result. Absent in a stream.",
        "schema": {"type": "integer"},
    },
    "x-warnings": {
        "description": "The codes of all warnings, with commas between them. Absent without warnings.",
        "schema": {"type": "string"},
    },
}
"""Headers of the replies of OpenAI's and the hub's routes."""
IMAGE_CONTENT: Json = {
    kind: {"schema": {"type": "string", "contentMediaType": kind}}
    for kind in ("image/png", "image/jpeg", "image/webp")
}
"""The content of a reply that is an image file."""


def operation_id(route: APIRoute) -> str:
    """Return the handler's name, the name of the operation in a generated client."""
    return route.name


def openapi_builder(
    app: FastAPI, bodies: Iterable[type[BaseModel]], events: Iterable[type[BaseModel]], *, closed: bool
) -> Callable[[], Json]:
    """Return the function that builds the document once. `closed`: every route but health needs a key.

    `events`: models of the data of streams.
    """
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in bodies]
    models.extend((model, "serialization") for model in (*events, ErrorReply))

    def build() -> Json:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=TAGS,
            )
            components = document.setdefault("components", {})
            schemas = models_json_schema(models, ref_template=SCHEMA_PATH)[1]
            components.setdefault("schemas", {}).update(schemas.get("$defs", {}))
            if closed:
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"key": []}]
            _add_replies(document)
            app.openapi_schema = document = _without_null_defaults(document)
            return document
        return app.openapi_schema

    return build


def _add_replies(document: Json) -> None:
    """Add examples of replies. `python -m scripts.pictures` writes them from a real server."""
    examples: Json = json.loads(_REPLIES.read_text(encoding="utf-8"))
    for operation in (operation for methods in document["paths"].values() for operation in methods.values()):
        for status, replies in examples.get(operation["operationId"], {}).items():
            for media_type, reply in replies.items():
                operation["responses"][status]["content"][media_type]["example"] = reply


def _without_null_defaults(value: Any) -> Any:
    """Leave out `default: null`: generators make a field with a default a required one of their types."""
    if isinstance(value, list):
        return [_without_null_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_null_defaults(item)
        for key, item in value.items()
        if not (key == "default" and item is None)
    }


def ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": SCHEMA_PATH.format(model=model.__name__)}


def response(*, headers: Mapping[str, Json] | None = None, **more: Any) -> Json:
    """Return an entry of FastAPI's `responses` with the header that every reply has."""
    return {"headers": {"x-request-id": _REQUEST_ID, **(headers or {})}, **more}


def errors(*statuses: int) -> Responses:
    found: Responses = {}
    for status in sorted(set(statuses)):
        headers = {"Retry-After": _RETRY_AFTER} if status in (429, 503) else {}
        # Not `model`: FastAPI would document it with the media type of the route's own response.
        content = {"application/json": {"schema": ref(ErrorReply)}}
        found[status] = response(description=_ERRORS[status], headers=headers, content=content)
    return found


def event_stream(*data: type[BaseModel], last: str | None = None) -> Json:
    """Return the content of a stream; the schema is that of each event.

    `data`: models of its data. `last`: the data of a last event that is no JSON.
    """
    content = {"anyOf": [ref(model) for model in dict.fromkeys((*data, ErrorReply))]}
    text: Json = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    field = {**text, "description": "What has happened, as JSON."}
    if last is not None:
        field = {"anyOf": [text, {"const": last}], "description": f"JSON; `{last}` ends the stream."}
    return {
        "text/event-stream": {"schema": {**_EVENT, "properties": {**_EVENT["properties"], "data": field}}}
    }


def task_operation(route: TaskRoute[Any]) -> Json:
    return {
        "parameters": [IDEMPOTENCY_KEY, _PREFER, _DEADLINE],
        **body_operation(route.body, route.example, route.form),
    }


def task_responses(route: TaskRoute[Any]) -> Responses:
    content: Json = {
        kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in route.image_types
    }
    if "stream" in route.body.model_fields:
        content |= event_stream(*NATIVE_DATA, route.reply)
    headers = {**(_JOB_HEADER if content else {}), **(SEED_HEADER if route.image_types else {})}
    return {200: response(content=content, headers=headers), 202: ACCEPTED, **errors(*BODY_ERRORS)}


def body_operation(body: type[BaseModel], example: Json, form: MultipartForm | None = None) -> Json:
    """Return the request body of a route: JSON, and multipart where there is a form."""
    content: Json = {"application/json": {"schema": ref(body), "example": example}}
    if form:
        content["multipart/form-data"] = {"schema": form_schema(body, form), "example": example}
    return {"requestBody": {"required": True, "content": content}}


def _header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "The same key with the same request gives the same job, however often it is sent.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": KEY_PATTERN},
)
_PREFER = _header(
    "Prefer",
    "`respond-async`: reply 202 at once. Other preferences are ignored (RFC 7240).",
    {"type": "string", "examples": ["respond-async"]},
)
_DEADLINE = _header(
    "x-deadline-s",
    "Seconds after which the request is cancelled, time in the queue included: 0.1–86,400.",
    {"type": "string", "pattern": DEADLINE_PATTERN, "examples": ["60"]},
)
LAST_EVENT_ID = _header(
    "Last-Event-ID",
    "Id of the last event that the client has received.",
    {"type": "string", "pattern": EVENT_ID_PATTERN, "examples": ["1700000000000-0"]},
)
_JOB_LINK: Json = {"parameters": {"id": "$response.body#/id"}}
ACCEPTED = response(
    model=JobReply,
    description="Queued.",
    headers={
        "Location": {
            "required": True,
            "description": "The job's URL.",
            "schema": {"type": "string", "pattern": "^/v1/jobs/[A-Za-z0-9_-]{1,64}$"},
        }
    },
    links={name: {"operationId": name, **_JOB_LINK} for name in ("get_job", "cancel_job", "follow_job")},
)
