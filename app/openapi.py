"""The OpenAPI document: what FastAPI cannot see, since bodies are read by hand within limits of their own.

Adds bodies (JSON and multipart), replies, errors, headers and the key scheme; every field's text and range
comes from the schemas.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.admission import DEADLINE_PATTERN
from app.bodies import MultipartForm
from app.openapi_parts import (
    BODY_ERRORS,
    EVENT_ID_PATTERN,
    READING_ERRORS,
    SCHEMA_PATH,
    Json,
    errors,
    event_stream,
    form_schema,
    header,
    json_reply,
    ref,
    reply,
)
from app.schemas import openai, openai_replies, replies, requests
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
    openai.GenerationsBody,
    openai.EditsBody,
    openai.ChatBody,
    openai.CompletionBody,
]
_OPENAI_REPLIES: dict[type[BaseModel], type[BaseModel]] = {
    openai.GenerationsBody: openai_replies.PicturesReply,
    openai.EditsBody: openai_replies.PicturesReply,
    openai.ChatBody: openai_replies.ChatReply,
    openai.CompletionBody: openai_replies.CompletionReply,
}
_MODELS: list[type[BaseModel]] = [
    *_REPLIES.values(),
    *_OPENAI_REPLIES.values(),
    openai_replies.ModelReply,
    openai_replies.ModelListReply,
    replies.JobReply,
    replies.ErrorReply,
    replies.LiveReply,
    replies.ReadyReply,
    replies.NotReadyReply,
]
_JOB_ID = "^[A-Za-z0-9_-]{1,64}$"
_STREAM = (
    "With `stream`: events `state`, `progress`, `partial_image`, `partial_text`, and as the last one either "
    "`completed` with the reply or `error`."
)


def operation_id(route: APIRoute) -> str:
    """The handler's name: what a generated client calls the operation."""
    return route.name


def openapi_document(app: FastAPI, *, closed: bool) -> Json:
    """Built once an application. `closed`: every route but health needs a key."""
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
        if closed:
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}]
        app.openapi_schema = document
    return app.openapi_schema


def task_operation(route: TaskRoute) -> Json:
    """What a task route adds to its operation."""
    content: Json = {"application/json": {"schema": ref(_REPLIES[route.task])}}
    if route.task is Task.TEXT2IMAGE:
        for kind in ("image/png", "image/jpeg", "image/webp"):
            content[kind] = {"schema": {"type": "string", "contentMediaType": kind}}
    if "stream" in route.body.model_fields:
        content |= event_stream(_STREAM)
    return {
        "parameters": [_IDEMPOTENCY_KEY, _PREFER, _DEADLINE],
        "requestBody": {"required": True, "content": _task_content(route)},
        "responses": {
            "200": reply("The result.", content),
            "202": _accepted(),
            **errors(BODY_ERRORS, replies.ErrorReply),
        },
    }


def submit_operation() -> Json:
    example = {"task": "text2image", "input": {"prompt": "рыжий кот"}, "priority": 0}
    return {
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _job_schema(), "example": example}},
        },
        "responses": {"202": _accepted(), **errors(BODY_ERRORS, replies.ErrorReply)},
    }


def openai_operation(body: type[BaseModel], form: MultipartForm | None) -> Json:
    if form is None:
        asked: Json = {"application/json": {"schema": ref(body)}}
    else:
        asked = {"multipart/form-data": {"schema": form_schema(body, form.files, form.lists)}}
    content: Json = {
        "application/json": {"schema": ref(_OPENAI_REPLIES[body])},
        **event_stream("With `stream`, as OpenAI's own."),
    }
    return {
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": asked},
        "responses": {
            "200": reply("As OpenAI's own.", content),
            **errors((*BODY_ERRORS,), replies.ErrorReply),
        },
    }


def models_operation(*, one: bool) -> Json:
    if not one:
        answer = json_reply("The loaded model.", openai_replies.ModelListReply)
        return {"responses": {"200": answer, **errors(READING_ERRORS, replies.ErrorReply)}}
    answer = json_reply("The loaded model.", openai_replies.ModelReply)
    name = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "parameters": [name],
        "responses": {"200": answer, **errors((*READING_ERRORS, "404"), replies.ErrorReply)},
    }


def job_operation(*, events: bool) -> Json:
    schema = {"type": "string", "pattern": _JOB_ID}
    parameters: list[Json] = [{"name": "id", "in": "path", "required": True, "schema": schema}]
    content: Json = {"application/json": {"schema": ref(replies.JobReply)}}
    if events:
        parameters.append(_LAST_EVENT_ID)
        content = event_stream(_STREAM)
    return {
        "parameters": parameters,
        "responses": {
            "200": reply("The job.", content),
            **errors((*READING_ERRORS, "404", *(["422"] if events else [])), replies.ErrorReply),
        },
    }


def live_operation() -> Json:
    return {
        "responses": {
            "200": json_reply("It answers.", replies.LiveReply),
            **errors(("400", "408", "431", "503"), replies.ErrorReply),
        },
        "security": [],
    }


def ready_operation() -> Json:
    not_ready = json_reply("Something is missing; `checks` says what.", replies.NotReadyReply)
    return {
        "responses": {
            "200": json_reply("Work would be done.", replies.ReadyReply),
            **errors(("400", "408", "431"), replies.ErrorReply),
            "503": not_ready,
        },
        "security": [],
    }


def metrics_operation() -> Json:
    answer = reply("In the Prometheus text format.", {"text/plain": {"schema": {"type": "string"}}})
    return {"responses": {"200": answer, **errors(READING_ERRORS, replies.ErrorReply)}}


def _task_content(route: TaskRoute) -> Json:
    content: Json = {"application/json": {"schema": ref(route.body), "example": route.example}}
    if route.form is None:
        return content
    schema = form_schema(route.body, route.form.files, route.form.lists)
    schema["description"] = (
        "A file part for each picture and a field for everything else, lists by repeating it. Instead of the "
        "fields, one part named `request` may hold them all as a JSON object."
    )
    for name in route.form.json_fields or ():
        schema["dependentRequired"][name] = [next(iter(route.form.files))]
        schema["properties"][name] = {
            "type": "string",
            "format": name,
            "description": 'As JSON, such as {"up": 4}.',
        }
    content["multipart/form-data"] = {"schema": schema}
    return content


def _job_schema() -> Json:
    """The body of a queued task; what its `input` holds hangs on its `task`."""
    inputs = [
        {"properties": {"task": {"const": str(route.task)}, "input": ref(route.body)}}
        for route in TASK_ROUTES
    ]
    return {**requests.JobBody.model_json_schema(), "oneOf": inputs}


def _schemas() -> Json:
    asked = models_json_schema([(model, "validation") for model in _REQUESTS], ref_template=SCHEMA_PATH)[1]
    told = models_json_schema(
        [(model, "serialization") for model in dict.fromkeys(_MODELS)], ref_template=SCHEMA_PATH
    )[1]
    return {**asked.get("$defs", {}), **told.get("$defs", {})}


def _accepted() -> Json:
    location: Json = {
        "required": True,
        "description": "The job's own address.",
        "schema": {"type": "string", "pattern": "^/v1/jobs/[A-Za-z0-9_-]{1,64}$"},
    }
    own: Json = {"parameters": {"id": "$response.body#/id"}}
    links = {name: {"operationId": name, **own} for name in ("get_job", "cancel_job", "follow_job")}
    return json_reply("Queued.", replies.JobReply, headers={"Location": location}, links=links)


_IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "The same key with the same request gives the same job, however often it is sent.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
)
_PREFER = header(
    "Prefer",
    "`respond-async`: answer 202 at once. Other preferences are ignored, as RFC 7240 has it.",
    {"type": "string", "examples": ["respond-async"]},
)
_DEADLINE = header(
    "x-deadline-s",
    "Seconds after which the request is given up, time in the queue included: 0.1–86,400.",
    {"type": "string", "pattern": DEADLINE_PATTERN, "examples": ["60"]},
)
_LAST_EVENT_ID = header(
    "Last-Event-ID",
    "Id of the last event seen.",
    {"type": "string", "pattern": EVENT_ID_PATTERN, "examples": ["1700000000000-0"]},
)
