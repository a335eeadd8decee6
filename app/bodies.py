"""Reads the body of a request and validates it: JSON or multipart, both in UTF-8.

In a multipart body each image is a file part with the name of its field. Every other field is a form field,
repeated for a list; or one part named `request` has all fields as JSON.
"""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from app.errors import ApiError, ClientGone
from app.field_errors import OWN_NAMES, FieldNames, validation_fault
from app.multipart import check_charset, check_charset_name, read_form

REQUEST_PART = "request"
FILE_TYPES = ("", "application/octet-stream")
"""Media types of a file whose kind the client does not name."""
CHARSET_FIELD = "_charset_"
"""Browsers write the charset of the form into a hidden field of this name."""
SMALL_BODY_BYTES = 128 << 10
"""Larger bodies are parsed and validated in a thread, so that other requests do not wait."""
MAX_JSON_COMMAS = 1_200_000
"""256 images with 4,096 codes each have a million."""
MAX_JSON_NESTED = 20_000
"""Objects, lists and keys of a body. 16 MB of `{},{},…` would take 400 MB once parsed."""

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class MultipartForm:
    """The fields of a multipart body: `files` maps the name of a file part to its path in the body."""

    files: dict[str, tuple[str, ...]]
    lists: frozenset[str] = frozenset()
    json_fields: dict[str, tuple[str, ...]] | None = None
    """Form fields that hold JSON, by name, with their path in the body."""


async def read_body(request: Request, schema: type[S], form: MultipartForm | None) -> S:
    """Return the validated body. Raises ApiError (400, 413, 415, 422) or ClientGone."""
    kind = _content_type(request, multipart=form is not None)
    try:
        if form is not None and kind == "multipart/form-data":
            parts = await read_form(request)
            num_bytes = sum(len(value) for _, value in parts)

            def read() -> S:
                return check_body(schema, _collect(parts, form), strict=False)
        else:
            body = await _whole(request)
            num_bytes = len(body)

            def read() -> S:
                return check_body(schema, parse_json(body))
    except ClientDisconnect:
        raise ClientGone from None
    if num_bytes <= SMALL_BODY_BYTES:
        return read()
    # One thread for all requests: each further one would take time of the interpreter from the event loop.
    threads: Executor = request.app.state.body_thread
    return await asyncio.get_running_loop().run_in_executor(threads, read)


async def read_file_or_body(request: Request, schema: type[S]) -> bytes | S:
    """Return the file that is the body, by its Content-Type or without one; else the validated JSON body."""
    kind = _media_type(request)[0]
    if kind not in FILE_TYPES and not kind.startswith("image/"):
        return await read_body(request, schema, None)
    try:
        return await _whole(request)
    except ClientDisconnect:
        raise ClientGone from None


async def _whole(request: Request) -> bytes:
    """Return the body. `request.body()` would keep it while the client waits."""
    return b"".join([piece async for piece in request.stream()])


def _content_type(request: Request, *, multipart: bool) -> str:
    """Return the media type of a body that can be read. Raises ApiError 415."""
    kind, content_type = _media_type(request)
    if kind != "application/json" and not (multipart and kind == "multipart/form-data"):
        _refuse_kind(kind, multipart=multipart)
    check_charset(content_type, "Content-Type")
    return kind


def _media_type(request: Request) -> tuple[str, str]:
    """Return the media type of the body, and the whole header. Raises ApiError 415 for a coded body."""
    content_types = request.headers.getlist("content-type")
    if len(content_types) > 1:
        # A proxy or filter may have checked another one than the server would use.
        message = f"Send one Content-Type; got {len(content_types)}."
        raise ApiError(415, "unsupported_media_type", message, param="Content-Type")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        message = (
            f"Send the body without Content-Encoding; got {encoding}. Compressed bodies are not accepted."
        )
        headers = {"Accept-Encoding": "identity"}
        raise ApiError(415, "unsupported_encoding", message, param="Content-Encoding", headers=headers)
    content_type = content_types[0] if content_types else ""
    return content_type.partition(";")[0].strip().lower(), content_type


def check_body(schema: type[S], fields: Any, *, strict: bool = True, names: FieldNames = OWN_NAMES) -> S:
    """Validate plain data. Raises ApiError 422 with the client's name of the field."""
    try:
        return schema.model_validate(fields, strict=strict)
    except ValidationError as error:
        raise validation_fault(error, schema, names) from None


def parse_json(body: bytes, *, param: str | None = None) -> Any:
    """Parse strict JSON in UTF-8: no NaN, no byte order mark, bounded depth and number of values."""
    check_size(body, param=param)
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_integer_or_float,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        _bad_json(f"byte {error.start} is not UTF-8", param)
    except json.JSONDecodeError as error:
        _bad_json(f"{error.msg} at line {error.lineno}, column {error.colno}", param)
    except RecursionError:
        _bad_json("it is nested too deeply", param)
    except ValueError as error:
        _bad_json("it holds a number that is too long" if "digits" in str(error) else str(error), param)


def check_size(body: bytes, *, param: str | None = None) -> None:
    """Raise ApiError 400 for JSON of more values than any request needs."""
    nested = body.count(b"{") + body.count(b"[") + body.count(b":")
    if nested > MAX_JSON_NESTED or body.count(b",") > MAX_JSON_COMMAS:
        _bad_json("it holds too many values", param)


def _integer(text: str) -> int:
    """Return int(text). In a function of Python, another thread may run between two integers of a million."""
    return int(text)


def _integer_or_float(text: str) -> float:
    """Return an int for 2.0: it is an integer in JSON Schema, and some languages have no other numbers."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _bad_json(reason: str, param: str | None) -> NoReturn:
    raise ApiError(400, "invalid_json", f"The body is not valid JSON: {reason}.", param=param)


def _refuse_kind(kind: str, *, multipart: bool) -> NoReturn:
    allowed = "application/json" + (" or multipart/form-data" if multipart else "")
    got = f"got {kind}" if kind else "got no Content-Type"
    raise ApiError(415, "unsupported_media_type", f"Send the body as {allowed}; {got}.", param="Content-Type")


def _collect(parts: Sequence[tuple[str, bytes | str]], form: MultipartForm) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in parts:
        if name == REQUEST_PART:
            fields.update(_request_part(_bytes_of(value)))
    for name, value in parts:
        plain = name.removesuffix("[]")
        if plain == REQUEST_PART:
            continue
        if plain == CHARSET_FIELD:
            check_charset_name(_bytes_of(value), CHARSET_FIELD)
            continue
        if plain in form.files:
            _put_file(fields, form, plain, value)
        elif isinstance(value, bytes):
            known = ", ".join(sorted(form.files))
            raise ApiError(
                422,
                "unknown_field",
                f"{plain} cannot be a file. File parts of this route: {known}.",
                param=plain,
            )
        elif form.json_fields and plain in form.json_fields:
            _put(fields, form.json_fields[plain], parse_json(value.encode(), param=plain))
        elif plain in form.lists:
            fields.setdefault(plain, []).append(value)
        elif plain in fields:
            raise ApiError(422, "invalid_value", f"{plain} is given twice; send it once.", param=plain)
        else:
            fields[plain] = value
    return fields


def _bytes_of(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _request_part(body: bytes) -> dict[str, Any]:
    fields = parse_json(body, param=REQUEST_PART)
    if not isinstance(fields, dict):
        raise ApiError(422, "invalid_value", "The part `request` must be a JSON object.", param=REQUEST_PART)
    return fields


def _put_file(fields: dict[str, Any], form: MultipartForm, name: str, value: bytes | str) -> None:
    path = form.files[name]
    if path[-1] in form.lists:
        fields.setdefault(path[-1], []).append(value)
    else:
        _put(fields, path, value)


def _put(fields: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        inner = fields.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ApiError(422, "invalid_value", f"{part} must be an object.", param=part)
        fields = inner
    if path[-1] in fields:
        name = ".".join(path)
        raise ApiError(422, "invalid_value", f"{name} is given twice; send it once.", param=name)
    fields[path[-1]] = value
