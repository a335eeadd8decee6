"""The OpenAPI document: what FastAPI cannot see, since bodies are read by hand within limits of their own.

Adds bodies (JSON and multipart), replies, errors, headers and the key scheme; every field's text and range
comes from the schemas.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.schemas import openai, replies, requests
from app.tasks import TASK_ROUTES, TaskRoute
from jobs.job import Task

DESCRIPTION = (
    "Inference server for RuDOLPH, the Russian text-image-text transformer. Every error is "
    '`{"error": {"message", "type", "param", "code"}}`; every reply has `x-request-id`. Pictures are '
    "base64, data URIs or multipart files, never addresses."
)
TAGS: list[dict[str, Any]] = [
    {"name": "tasks", "description": "What the model can do; answered when it is done, or later on request."},
    {"name": "jobs", "description": "The same tasks, queued: submit, ask, follow, cancel."},
    {"name": "openai", "description": "The same model behind OpenAI's routes; the official SDK works."},
    {"name": "operations", "description": "Health and metrics."},
]
_REPLIES: dict[Task, type[BaseModel]] = {
    Task.TEXT2IMAGE: replies.ImagesReply,
    Task.IMAGE2TEXT: replies.TextsReply,
    Task.TEXT2TEXT: replies.TextsReply,
    Task.RANK_IMAGES: replies.RankingReply,
    Task.RANK_TEXTS: replies.RankingReply,
    Task.CLASSIFY: replies.ClassifyReply,
    Task.ANSWER: replies.AnswerReply,
}
_REQUESTS: list[type[BaseModel]] = [
    *(route.body for route in TASK_ROUTES),
    requests.JobBody,
    openai.GenerationsBody,
    openai.EditsBody,
    openai.ChatBody,
    openai.CompletionBody,
]
_MODELS: list[type[BaseModel]] = [*set(_REPLIES.values()), replies.JobReply, replies.ErrorReply]
_SCHEMA_PATH = "#/components/schemas/{model}"

_ERRORS = {
    "400": "The request cannot be read: not JSON, not multipart, a broken header.",
    "401": "No API key, or an unknown one.",
    "404": "There is no such job.",
    "408": "The body came too slowly.",
    "409": "The loaded checkpoint cannot do this, or the job was cancelled.",
    "413": "The body or a picture is too large.",
    "415": "The body's Content-Type is not one of those described.",
    "422": "A field is wrong; `param` names it.",
    "429": "A quota of this key or tenant is used up; see Retry-After.",
    "500": "The server failed.",
    "503": "The queue is full, unreachable, or no worker has come yet; see Retry-After.",
    "504": "The deadline passed; the job was cancelled.",
}
_STREAM = (
    "With `stream`: events `state`, `progress`, `partial_image`, `partial_text`, and as the last one either "
    "`completed` with the reply or `error`."
)
_COMMON_ERRORS = ("401", "422", "429", "500", "503")
_BODY_ERRORS = ("400", "408", "409", "413", "415", "504")


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Built once an application."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=TAGS,
        )
        components = document.setdefault("components", {})
        components["schemas"] = _schemas()
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{}, {"key": []}]
        app.openapi_schema = document
    return app.openapi_schema


def task_operation(route: TaskRoute) -> dict[str, Any]:
    """What a task route adds to its operation."""
    reply: dict[str, Any] = {"application/json": {"schema": _ref(_REPLIES[route.task])}}
    if route.task is Task.TEXT2IMAGE:
        for kind in ("image/png", "image/jpeg", "image/webp"):
            reply[kind] = {"schema": {"type": "string", "contentMediaType": kind}}
    if "stream" in route.body.model_fields:
        reply["text/event-stream"] = {"schema": {"type": "string", "description": _STREAM}}
    return {
        "parameters": [_IDEMPOTENCY_KEY, _PREFER, _DEADLINE],
        "requestBody": {"required": True, "content": _task_content(route)},
        "responses": {
            "200": {"description": "The result.", "content": reply},
            "202": _accepted(),
            **_errors(*_COMMON_ERRORS, *_BODY_ERRORS),
        },
    }


def submit_operation() -> dict[str, Any]:
    example = {"task": "text2image", "input": {"prompt": "рыжий кот"}, "priority": 0}
    return {
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(requests.JobBody), "example": example}},
        },
        "responses": {"202": _accepted(), **_errors(*_COMMON_ERRORS, *_BODY_ERRORS)},
    }


def openai_operation(body: type[BaseModel], *, multipart: bool) -> dict[str, Any]:
    kind = "multipart/form-data" if multipart else "application/json"
    reply = {kind: {"schema": {"type": "object"}} for kind in ("application/json", "text/event-stream")}
    return {
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {kind: {"schema": _ref(body)}}},
        "responses": {
            "200": {"description": "As OpenAI's own.", "content": reply},
            **_errors(*_COMMON_ERRORS, *_BODY_ERRORS),
        },
    }


def job_operation(*, events: bool) -> dict[str, Any]:
    schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
    parameters: list[dict[str, Any]] = [{"name": "id", "in": "path", "required": True, "schema": schema}]
    content: dict[str, Any] = {"application/json": {"schema": _ref(replies.JobReply)}}
    if events:
        parameters.append(_LAST_EVENT_ID)
        content = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "parameters": parameters,
        "responses": {
            "200": {"description": "The job.", "content": content},
            **_errors("401", "404", "422", "429", "500", "503"),
        },
    }


def _task_content(route: TaskRoute) -> dict[str, Any]:
    content: dict[str, Any] = {
        "application/json": {"schema": _ref(route.body), "example": route.example},
    }
    if route.form is None:
        return content
    own = sorted(set(route.body.model_fields) - {place[0] for place in route.form.files.values()})
    file: dict[str, Any] = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties: dict[str, Any] = {
        name: {"type": "array", "items": file} if place[-1] in route.form.lists else file
        for name, place in route.form.files.items()
    }
    properties |= {name: {"type": "string", "description": "JSON"} for name in route.form.json_fields or ()}
    properties["request"] = {
        "type": "string",
        "contentMediaType": "application/json",
        "description": f"All other fields as one JSON object; or each as a form field: {', '.join(own)}.",
    }
    schema = {"type": "object", "properties": properties, "required": [next(iter(route.form.files))]}
    content["multipart/form-data"] = {"schema": schema}
    return content


def _schemas() -> dict[str, Any]:
    asked = models_json_schema([(model, "validation") for model in _REQUESTS], ref_template=_SCHEMA_PATH)[1]
    told = models_json_schema([(model, "serialization") for model in _MODELS], ref_template=_SCHEMA_PATH)[1]
    return {**asked.get("$defs", {}), **told.get("$defs", {})}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _SCHEMA_PATH.format(model=model.__name__)}


def _accepted() -> dict[str, Any]:
    return {
        "description": "Queued; Location has the job's address.",
        "headers": {"Location": {"schema": {"type": "string"}}},
        "content": {"application/json": {"schema": _ref(replies.JobReply)}},
    }


def _errors(*statuses: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(replies.ErrorReply)}}
    return {status: {"description": _ERRORS[status], "content": content} for status in sorted(statuses)}


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


_IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "The same key with the same request gives the same job, however often it is sent.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
)
_PREFER = _header(
    "Prefer", "`respond-async`: answer 202 at once.", {"type": "string", "enum": ["respond-async"]}
)
_DEADLINE = _header(
    "x-deadline-s",
    "Seconds after which the request is given up, time in the queue included.",
    {"type": "number", "minimum": 0.1, "maximum": 86400},
)
_LAST_EVENT_ID = _header(
    "Last-Event-ID", "Id of the last event seen.", {"type": "string", "pattern": r"^\d{1,20}-\d{1,20}$"}
)
