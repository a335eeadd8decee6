"""Tables of fields in docs/tasks: between `<!-- fields: Model -->` and `<!-- end -->`, from the models."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from app.tasks import TASKS
from app.tasks.classify import ClassScoreReply
from app.tasks.ranking import RankedItemReply
from app.tasks.text2image import BordersBody, ImageItem, ImagePromptBody
from app.tasks.text2text import TextItem

_MARKS = re.compile(r"(<!-- fields: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PARTS: tuple[type[BaseModel], ...] = (BordersBody, ImagePromptBody)
_ITEMS: tuple[type[BaseModel], ...] = (ImageItem, TextItem, ClassScoreReply, RankedItemReply)


_PLURALS = {"text": "texts", "integer": "integers"}


class UndescribedField(Exception):
    """A field has no description, or a page names an unknown model; the message says which."""


def render(page: Path) -> str:
    """Return a page with the present tables. Raises UndescribedField."""

    def present(found: re.Match[str]) -> str:
        return f"{found[1]}\n{table(found[2])}\n{found[3]}"

    return _MARKS.sub(present, page.read_text(encoding="utf-8"))


def table(name: str) -> str:
    """Return the table of a model. Raises UndescribedField."""
    bodies = {model.__name__: model for model in (*(route.body for route in TASKS.values()), *_PARTS)}
    replies = {model.__name__: model for model in (*(route.reply for route in TASKS.values()), *_ITEMS)}
    if name in bodies:
        head = "| field | values | default | meaning |\n| --- | --- | --- | --- |\n"
        return head + "".join(_body_rows(bodies[name]))
    if name in replies:
        return "| field | meaning |\n| --- | --- |\n" + "".join(_reply_rows(replies[name]))
    raise UndescribedField(f"{name} is no body and no reply; known: {', '.join(sorted(bodies | replies))}")


def _body_rows(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    required = schema.get("required", [])
    return [
        f"| `{name}` | {_values(field)} | {_default(field, is_required=name in required)} "
        f"| {_meaning(model, name, schema)} |\n"
        for name, field in sorted(schema["properties"].items(), key=lambda item: item[0] not in required)
    ]


def _reply_rows(model: type[BaseModel]) -> list[str]:
    mode: JsonSchemaMode = "serialization"
    schema = model.model_json_schema(mode=mode)
    return [f"| `{name}` | {_meaning(model, name, schema)} |\n" for name in schema["properties"]]


def _meaning(model: type[BaseModel], name: str, schema: dict[str, Any]) -> str:
    """Return the description of a field, or that of the type to which it refers."""
    field: dict[str, Any] = schema["properties"][name]
    referred = schema.get("$defs", {}).get(field.get("$ref", "").rpartition("/")[2], {})
    options = (field, referred, *field.get("anyOf", ()))
    found = [option["description"] for option in options if "description" in option]
    if not found:
        raise UndescribedField(f"{model.__name__}.{name} has no description; write one")
    return " ".join(found[0].split()).replace("|", "\\|")


def _default(field: dict[str, Any], *, is_required: bool) -> str:
    if is_required:
        return "required"
    value = field.get("default")
    if value is None or value == "":
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _values(field: dict[str, Any]) -> str:
    options = [option for option in field.get("anyOf", (field,)) if option.get("type") != "null"]
    return " or ".join(dict.fromkeys(map(_value, options)))


def _value(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("format") == "picture":
        return "image"
    kind: str = field.get("type", "object")
    if kind == "array":
        return f"list of {_length(field)}{_PLURALS.get(_values(field['items']), 'images')}"
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    name = {"string": "text", "boolean": "`true`, `false`"}.get(kind, kind)
    if low is None or high is None:
        return name
    if "exclusiveMinimum" in field and "exclusiveMaximum" in field:
        return f"{name}, above {low:,} and below {high:,}"
    return f"{name}, {low:,} to {high:,}"


def _length(field: dict[str, Any]) -> str:
    low, high = field.get("minItems"), field.get("maxItems")
    if high is None:
        return ""
    return f"at most {high:,} " if low is None else f"{low:,} to {high:,} "
