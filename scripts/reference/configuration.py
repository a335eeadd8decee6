"""docs/configuration.md: every setting of the server and of a worker, from their pydantic classes."""

import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from app.settings import Settings
from workers.settings import WorkerSettings

HEAD = """# Configuration

<!-- Generated from app/settings.py and workers/settings.py by `make reference`. -->

Every setting is an environment variable. `rudolph serve` and `rudolph worker` also have options for the most
important ones ([command line](cli.md)); an option overrides its variable. A wrong value stops the start with
exit code 78 and one line that names it. Sizes are in bytes, times in seconds. "–": not set by default.
"""
TABLE_HEAD = "| variable | values | default | meaning |\n| --- | --- | --- | --- |\n"
SECTIONS: tuple[tuple[str, str, type[BaseSettings]], ...] = (
    ("HTTP server", "Read by `rudolph serve` and by `uvicorn --factory app.main:create_app`.", Settings),
    ("Worker", "Read by `rudolph worker`, and by the workers that `rudolph serve` starts.", WorkerSettings),
)


class UndescribedSetting(Exception):
    """A setting has no description; the message names it."""


def render() -> str:
    """Return the page as Markdown. Raises UndescribedSetting."""
    parts = [HEAD]
    for title, introduction, settings in SECTIONS:
        parts += [f"\n## {title}\n\n{introduction}\n\n", TABLE_HEAD]
        parts += [_row(settings, name, field) for name, field in settings.model_fields.items()]
    return "".join(parts)


def _row(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    if not field.description:
        where = f"{settings.__module__}.{settings.__name__}.{name}"
        raise UndescribedSetting(f"{where} has no description; write a docstring below the field")
    variable = f"{settings.model_config.get('env_prefix', '')}{name}".upper()
    meaning = " ".join(field.description.split()).replace("|", "\\|")
    return f"| `{variable}` | {_values(field)} | {_default(field.default)} | {meaning} |\n"


def _default(value: Any) -> str:
    if value is None or value == ():
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _values(field: FieldInfo) -> str:
    return " or ".join(dict.fromkeys(_kinds(field.annotation))) + _range(field.metadata)


def _kinds(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    elif get_origin(annotation) is Literal:
        yield ", ".join(f"`{choice}`" for choice in get_args(annotation))
    elif get_origin(annotation) is Annotated:
        kind, limits = get_args(annotation)
        yield from (name + _range(limits.metadata) for name in _kinds(kind))
    elif get_origin(annotation) is tuple:
        yield "texts, separated by commas"
    elif annotation is not type(None):
        names = {int: "integer", float: "number", bool: "`true`, `false`", str: "text", SecretStr: "text"}
        yield names.get(annotation, "path")


def _range(metadata: Iterable[Any]) -> str:
    signs = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}
    bounds = [
        f"{sign} {getattr(rule, attribute)}"
        for rule in metadata
        for kind, (attribute, sign) in signs.items()
        if isinstance(rule, kind)
    ]
    return f" {', '.join(bounds)}" if bounds else ""
