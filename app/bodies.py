"""From the bytes of a request to plain data: JSON or multipart, and nothing else.

Multipart, for the routes with pictures: each picture is a file part named as its field; every other field is
a form field of its own (lists by repeating it), or all of them stand in one part named `request` as JSON.
"""

import json
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.errors import ApiError, ClientGone
from app.schemas.faults import fault_of

MAX_FILES = 260
MAX_FIELDS = 1100
MAX_FIELD_BYTES = 1 << 20
REQUEST_PART = "request"
MAX_JSON_COMMAS = 1_200_000
"""256 pictures as 4,096 codes each have a million."""
MAX_JSON_NESTED = 20_000
"""Objects, lists and keys of a body. Sixteen megabytes of `{},{},…` would become 400 megabytes of them."""

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class MultipartForm:
    """How a task's fields come out of a form: `files` maps a file part's name to its place in the body."""

    files: dict[str, tuple[str, ...]]
    lists: frozenset[str] = frozenset()
    json_fields: dict[str, tuple[str, ...]] | None = None
    """Form fields that hold JSON, by name, with their place in the body."""


class _InMemoryParser(MultiPartParser):
    # The body is bounded and counted already; spooling to disk would only add a second, uncounted place.
    spool_max_size = 1 << 30


async def read_body(request: Request, schema: type[S], form: MultipartForm | None) -> S:
    """The request's body, checked against the schema. Raises ApiError (400, 413, 415, 422) or ClientGone."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data" and form is not None:
            fields, strict = await _form_fields(request, form), False
        elif kind == "application/json":
            fields, strict = parse_json(await request.body()), True
        else:
            _refuse_kind(kind, multipart=form is not None)
    except ClientDisconnect:
        raise ClientGone from None
    return check_body(schema, fields, strict=strict)


def check_body(schema: type[S], fields: Any, *, strict: bool = True, prefix: str = "") -> S:
    try:
        return schema.model_validate(fields, strict=strict)
    except ValidationError as error:
        raise fault_of(error, schema, prefix=prefix) from None


def parse_json(body: bytes, *, param: str | None = None) -> Any:
    """Strict JSON in UTF-8: no NaN, no byte order tricks, bounded depth and number of values."""
    nested = body.count(b"{") + body.count(b"[") + body.count(b":")
    if nested > MAX_JSON_NESTED or body.count(b",") > MAX_JSON_COMMAS:
        _bad_json("it holds too many values", param)
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_whole_or_float)
    except UnicodeDecodeError as error:
        _bad_json(f"byte {error.start} is not UTF-8", param)
    except json.JSONDecodeError as error:
        _bad_json(f"{error.msg} at line {error.lineno}, column {error.colno}", param)
    except RecursionError:
        _bad_json("it is nested too deeply", param)
    except ValueError as error:
        _bad_json(
            "it holds a number that is none or is too long" if "digits" in str(error) else str(error), param
        )


def _whole_or_float(text: str) -> float:
    """2.0 is a whole number to JSON Schema, and to languages that have no other."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _bad_json(reason: str, param: str | None) -> NoReturn:
    raise ApiError(400, "invalid_json", f"The body is not valid JSON: {reason}.", param=param)


def _refuse_kind(kind: str, *, multipart: bool) -> NoReturn:
    allowed = "application/json" + (" or multipart/form-data" if multipart else "")
    got = f"got {kind}" if kind else "no Content-Type came"
    raise ApiError(415, "unsupported_media_type", f"Send the body as {allowed}; {got}.", param="Content-Type")


async def _form_fields(request: Request, form: MultipartForm) -> dict[str, Any]:
    parser = _InMemoryParser(
        request.headers,
        request.stream(),
        max_files=MAX_FILES,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        data = await parser.parse()
    except MultiPartException as error:
        raise ApiError(
            400, "invalid_multipart", f"The multipart body cannot be read: {error.message}"
        ) from None
    try:
        return await _collect(data.multi_items(), form)
    finally:
        await data.close()


async def _collect(items: list[tuple[str, UploadFile | str]], form: MultipartForm) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in items:
        if name == REQUEST_PART:
            fields.update(_request_part(await _bytes_of(value)))
    for name, value in items:
        plain = name.removesuffix("[]")
        if plain == REQUEST_PART:
            continue
        if plain in form.files:
            _place_file(fields, form, plain, await value.read() if isinstance(value, UploadFile) else value)
        elif isinstance(value, UploadFile):
            known = ", ".join(sorted(form.files))
            raise ApiError(
                422,
                "unknown_field",
                f"{plain} cannot be a file. File parts of this route: {known}.",
                param=plain,
            )
        elif form.json_fields and plain in form.json_fields:
            _put(fields, form.json_fields[plain], parse_json(value.encode("utf-8", "replace"), param=plain))
        elif plain in form.lists:
            fields.setdefault(plain, []).append(value)
        elif plain in fields:
            raise ApiError(422, "invalid_value", f"{plain} is given twice; send it once.", param=plain)
        else:
            fields[plain] = value
    return fields


async def _bytes_of(value: UploadFile | str) -> bytes:
    return await value.read() if isinstance(value, UploadFile) else value.encode("utf-8", "replace")


def _request_part(body: bytes) -> dict[str, Any]:
    fields = parse_json(body, param=REQUEST_PART)
    if not isinstance(fields, dict):
        raise ApiError(422, "invalid_value", "The part `request` must be a JSON object.", param=REQUEST_PART)
    return fields


def _place_file(fields: dict[str, Any], form: MultipartForm, name: str, value: bytes | str) -> None:
    place = form.files[name]
    if place[-1] in form.lists:
        fields.setdefault(place[-1], []).append(value)
    else:
        _put(fields, place, value)


def _put(fields: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for part in place[:-1]:
        inner = fields.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ApiError(422, "invalid_value", f"{part} must be an object.", param=part)
        fields = inner
    if place[-1] in fields:
        name = ".".join(place)
        raise ApiError(422, "invalid_value", f"{name} is given twice; send it once.", param=name)
    fields[place[-1]] = value
