"""What a request got wrong, in one sentence that names the field, the rule and the remedy.

Knows pydantic's error kinds and the schemas' own; does not know routes.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from app.errors import ApiError, invalid

_TYPE_NAMES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "finite_number": "a finite number",
}
_CODES = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "too_few_candidates": "too_few_candidates",
    "image_prompt": "invalid_image_prompt",
}
_BOUND_KINDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def fault_of(error: ValidationError, schema: type[BaseModel], *, prefix: str = "") -> ApiError:
    """The first fault of a body, as a 422 with the field's JSON path. `prefix` is put before the path."""
    first = error.errors(include_url=False)[0]
    place = tuple(part for part in first["loc"] if not str(part).startswith("#"))
    own_field = first.get("ctx", {}).get("field")
    path = json_path((*place, own_field) if own_field else place)
    param = ".".join(part for part in (prefix, path) if part) or None
    return invalid(_sentence(first, param or "the request", place, schema), param=param, code=_code(first))


def json_path(place: tuple[int | str, ...]) -> str:
    """("images", 3, "codes") → "images[3].codes"."""
    path = ""
    for part in place:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _code(error: ErrorDetails) -> str:
    return _CODES.get(error["type"], "invalid_value")


def _sentence(error: ErrorDetails, name: str, place: tuple[int | str, ...], schema: type[BaseModel]) -> str:
    kind, got = error["type"], _got(error["input"])
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "missing":
        return f"{name} is required."
    if kind == "extra_forbidden":
        known = ", ".join(_fields_at(schema, place[:-1]))
        return f"{name} is not a field of this request. Known fields: {known}."
    if kind in _BOUND_KINDS:
        return f"{name} must be {_bounds(schema, place, context)}; got {got}."
    if kind in ("string_too_long", "string_too_short", "too_long", "too_short"):
        return f"{name} must have {_length(error, context)}; got {_size(error, context)}."
    if kind == "literal_error":
        return f"{name} must be one of {context['expected']}; got {got}."
    if kind in _TYPE_NAMES:
        return f"{name} must be {_TYPE_NAMES[kind]}; got {got}."
    if kind == "string_unicode":
        return f"{name} holds text that is not valid Unicode; send no halves of surrogate pairs."
    if kind == "too_few_candidates":
        return f"{error['msg']}."
    if kind.startswith(("text_", "picture_", "template_")):
        return f"{name} {error['msg']}."
    return f"{name}: {error['msg']}."


def _got(value: Any) -> str:
    if isinstance(value, bytes):
        return f"a file of {len(value)} bytes"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False, default=lambda _: "a value")
    return text if len(text) <= 80 else f"{text[:77]}…"


def _field_at(schema: type[BaseModel], place: tuple[int | str, ...]) -> FieldInfo | None:
    model: type[BaseModel] | None = schema
    field: FieldInfo | None = None
    for part in place:
        if isinstance(part, int) or model is None:
            continue
        field = model.model_fields.get(part)
        model = _model_in(field.annotation) if field else None
    return field


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found:
            return found
    return None


def _fields_at(schema: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    field = _field_at(schema, place)
    model = _model_in(field.annotation) if field else schema
    return sorted((model or schema).model_fields)


def _bounds(schema: type[BaseModel], place: tuple[int | str, ...], context: Mapping[str, Any]) -> str:
    field = _field_at(schema, place)
    rules = [*field.metadata, *_nested_metadata(field.annotation)] if field else []
    low = next((rule.ge for rule in rules if hasattr(rule, "ge")), None)
    high = next((rule.le for rule in rules if hasattr(rule, "le")), None)
    if low is not None and high is not None:
        return f"between {low} and {high}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return next((f"{word} {context[key]}" for key, word in words.items() if key in context), "in range")


def _nested_metadata(annotation: Any) -> list[Any]:
    """Rules inside Optional[Annotated[…]], list[Annotated[…]]."""
    found: list[Any] = list(getattr(annotation, "__metadata__", ()))
    for rule in list(found):
        found.extend(getattr(rule, "metadata", ()))
    for argument in getattr(annotation, "__args__", ()):
        found.extend(_nested_metadata(argument))
    return found


def _length(error: ErrorDetails, context: Mapping[str, Any]) -> str:
    unit = "characters" if isinstance(error["input"], str) else "items"
    if error["type"].endswith("long"):
        return f"at most {context['max_length']} {unit}"
    return f"at least {context['min_length']} {unit}"


def _size(error: ErrorDetails, context: Mapping[str, Any]) -> str:
    actual = context.get("actual_length")
    return str(actual if actual is not None else len(error["input"]))
