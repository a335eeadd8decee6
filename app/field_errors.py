"""Turns a validation error into one sentence that names the field, the rule and the remedy.

Knows the error types of pydantic and of `app.fields`; does not know routes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from app.errors import ApiError, invalid

_TYPE_NAMES = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
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
MAX_SHOWN = 80
"""Characters of a refused value in a message."""
_BOUND_KINDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
_PREDICATES = ("text_", "image_type", "template_", "too_few_candidates")
"""Error types whose message continues the sentence that begins with the field's name."""


@dataclass(frozen=True)
class FieldNames:
    """Names of the fields of a task in the request that the client sent."""

    prefix: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])

    def of(self, param: str) -> str:
        """Return the client's name of the field at path `param`; the prefix alone for an empty path."""
        return ".".join(part for part in (self.prefix, self.aliases.get(param, param)) if part)


OWN_NAMES = FieldNames()


def validation_fault(
    error: ValidationError, schema: type[BaseModel], names: FieldNames = OWN_NAMES
) -> ApiError:
    """Return the first fault of a body as a 422 with the JSON path of the field."""
    first = error.errors(include_url=False)[0]
    path = tuple(part for part in first["loc"] if not str(part).startswith("#"))
    own_field = first.get("ctx", {}).get("field")
    param = names.of(json_path((*path, own_field) if own_field else path)) or None
    return invalid(_sentence(first, param or "the request", path, schema), param=param, code=_code(first))


def json_path(path: tuple[int | str, ...]) -> str:
    """("images", 3, "codes") → "images[3].codes"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _code(error: ErrorDetails) -> str:
    return _CODES.get(error["type"], "invalid_value")


def _sentence(error: ErrorDetails, name: str, path: tuple[int | str, ...], schema: type[BaseModel]) -> str:
    kind, got = error["type"], _got(error["input"])
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "missing":
        return f"{name} is required."
    if kind == "extra_forbidden":
        known = ", ".join(_fields_at(schema, path[:-1]))
        return f"{name} is not a field of this request. Known fields: {known}."
    if kind in _BOUND_KINDS:
        return f"{name} must be {_bounds(schema, path, context)}; got {got}."
    if kind in ("string_too_long", "string_too_short", "too_long", "too_short"):
        return f"{name} must have {_length(error, context)}; got {_size(error, context)}."
    if kind in ("literal_error", "enum"):
        return f"{name} must be one of {context['expected']}; got {got}."
    if kind in _TYPE_NAMES:
        return f"{name} must be {_TYPE_NAMES[kind]}; got {got}."
    if kind == "string_unicode":
        return f"{name} holds text that is not valid Unicode; send no unpaired surrogates."
    if kind.startswith(_PREDICATES):
        return f"{name} {error['msg']}."
    return f"{name}: {error['msg']}."


def _got(value: Any) -> str:
    if isinstance(value, bytes):
        return f"a file of {len(value)} bytes"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    value = value[:MAX_SHOWN] if isinstance(value, str) else value
    text = json.dumps(value, ensure_ascii=False, default=lambda _: "a value")
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}…"


def _field_at(schema: type[BaseModel], path: tuple[int | str, ...]) -> FieldInfo | None:
    model: type[BaseModel] | None = schema
    found: FieldInfo | None = None
    for part in path:
        if isinstance(part, int) or model is None:
            continue
        found = model.model_fields.get(part)
        model = _model_in(found.annotation) if found else None
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found:
            return found
    return None


def _fields_at(schema: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    found = _field_at(schema, path)
    model = _model_in(found.annotation) if found else schema
    return sorted((model or schema).model_fields)


def _bounds(schema: type[BaseModel], path: tuple[int | str, ...], context: Mapping[str, Any]) -> str:
    found = _field_at(schema, path)
    rules = [*found.metadata, *_nested_metadata(found.annotation)] if found else []
    low = next((rule.ge for rule in rules if hasattr(rule, "ge")), None)
    high = next((rule.le for rule in rules if hasattr(rule, "le")), None)
    if low is not None and high is not None:
        return f"between {low} and {high}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return next((f"{word} {context[key]}" for key, word in words.items() if key in context), "in range")


def _nested_metadata(annotation: Any) -> list[Any]:
    """Return the rules inside Optional[Annotated[…]] and list[Annotated[…]]."""
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
