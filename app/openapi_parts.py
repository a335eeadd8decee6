"""Pieces of the OpenAPI document that several operations share: replies, errors, headers, forms."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

SCHEMA_PATH = "#/components/schemas/{model}"
_TRUTHS = ["true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"]
EVENT_ID_PATTERN = "^[0-9]{1,20}-[0-9]{1,20}$"
Json = dict[str, Any]

_ERRORS = {
    "400": "The request cannot be read: not JSON, not multipart, a broken header. On OpenAI's routes also: a "
    "field is wrong.",
    "401": "No API key, or an unknown one.",
    "404": "There is no such thing here.",
    "408": "The headers or the body came too slowly.",
    "409": "The loaded checkpoint cannot do this, or the job was cancelled.",
    "413": "The body or a picture is too large.",
    "415": "The body's Content-Type is not one of those described.",
    "422": "A field is wrong; `param` names it.",
    "429": "A quota of this key or tenant is used up; see Retry-After.",
    "431": "The headers are too large.",
    "500": "The server failed.",
    "503": "The queue is full, unreachable, or no worker has come yet; see Retry-After.",
    "504": "The deadline passed; the job was cancelled.",
}
READING_ERRORS = ("400", "401", "408", "429", "431", "500", "503")
"""What any route may answer."""
BODY_ERRORS = (*READING_ERRORS, "409", "413", "415", "422", "504")
"""What a route with a body may answer besides."""

_REQUEST_ID: Json = {
    "description": "The request's own x-request-id, or a new one; the log has it.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
}
_RETRY_AFTER: Json = {
    "description": "Seconds to wait.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": 120},
}


def ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": SCHEMA_PATH.format(model=model.__name__)}


def reply(description: str, content: Json, **more: Any) -> Json:
    """A response with the header that every reply has; `headers` among `more` are added to it."""
    headers = {"x-request-id": _REQUEST_ID, **more.pop("headers", {})}
    return {"description": description, "headers": headers, "content": content, **more}


def json_reply(description: str, model: type[BaseModel], **more: Any) -> Json:
    return reply(description, {"application/json": {"schema": ref(model)}}, **more)


def errors(statuses: Iterable[str], model: type[BaseModel]) -> Json:
    found: Json = {}
    for status in sorted(set(statuses)):
        headers = {"Retry-After": _RETRY_AFTER} if status in ("429", "503") else {}
        found[status] = json_reply(_ERRORS[status], model, headers=headers)
    return found


def event_stream(description: str) -> Json:
    """Server-sent events; the schema is that of each event."""
    event: Json = {
        "type": "object",
        "description": description,
        "properties": {
            "event": {"type": "string"},
            "id": {"type": "string", "pattern": EVENT_ID_PATTERN},
            "data": {"type": "string", "description": "JSON; `[DONE]` ends a stream of OpenAI's texts."},
        },
        "required": ["data"],
    }
    return {"text/event-stream": {"schema": event}}


def header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def form_schema(model: type[BaseModel], files: Mapping[str, tuple[str, ...]], lists: frozenset[str]) -> Json:
    """The body as a form: a file part for each picture, and every other plain field by its own name.

    Nested objects are left out; a form cannot say null, so null is taken out of every field.
    """
    schema = model.model_json_schema()
    taken = {place[0] for place in files.values()}
    plain = {
        name: _without_null(field)
        for name, field in schema["properties"].items()
        if name not in taken and _is_plain(_without_null(field))
    }
    file = {
        "type": "string",
        "format": "picture-file",
        "contentMediaType": "application/octet-stream",
        "description": "A PNG, JPEG or WebP file.",
    }
    first_names: dict[tuple[str, ...], str] = {}
    for name, place in files.items():
        first_names.setdefault(place, name)
    for place, name in first_names.items():
        if place[-1] in lists:
            plain[name] = {"type": "array", "items": file, "minItems": 1, "maxItems": 256}
        else:
            plain[name] = file
    required = [name for name in schema.get("required", ()) if name in plain]
    return {
        "type": "object",
        "properties": plain,
        "required": required,
        "additionalProperties": False,
        **_companions(first_names),
    }


def _companions(names: Mapping[tuple[str, ...], str]) -> Json:
    """Parts that mean something beside the first one of the same object only."""
    inner = [name for place, name in names.items() if len(place) > 1]
    return {"dependentRequired": dict.fromkeys(inner[1:], inner[:1])} if inner else {}


def _without_null(field: Json) -> Json:
    """Takes the null out of `anyOf: [X, null]` and out of defaults; truth is told in words."""
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    found = {key: value for key, value in field.items() if key != "anyOf"}
    if found.get("default", "") is None:
        del found["default"]
    found = {**found, **options[0]} if len(options) == 1 else found if not options else field
    if found.get("type") != "boolean":
        return found
    default = {"default": str(found["default"]).lower()} if "default" in found else {}
    return {**found, "type": "string", "enum": _TRUTHS, **default}


def _is_plain(field: Json) -> bool:
    return field.get("type") in ("string", "integer", "number", "boolean") or (
        field.get("type") == "array" and field["items"].get("type") == "string"
    )
