"""Describes a body as a form, for the OpenAPI document: a file for each image, text for other fields."""

from typing import Any

from pydantic import BaseModel

from app.bodies import MultipartForm
from app.fields import MASK

Json = dict[str, Any]

_BOOLEANS = ["true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"]


def form_schema(model: type[BaseModel], form: MultipartForm) -> Json:
    """Describe the body as a form: a file part for each image, a form field for every other plain field.

    Nested objects are left out. A form has no null, so that no field allows it.
    """
    schema = model.model_json_schema()
    in_files = {path[0] for path in form.files.values()}
    properties = {
        name: _without_null(field)
        for name, field in schema["properties"].items()
        if name not in in_files and _is_plain(_without_null(field))
    }
    file = {
        "type": "string",
        "format": "picture-file",
        "contentMediaType": "application/octet-stream",
        "description": "A PNG, JPEG or WebP file.",
    }
    files = {"type": "array", "items": file, "minItems": 1, "description": "PNG, JPEG or WebP files."}
    first_names: dict[tuple[str, ...], str] = {}
    for name, path in form.files.items():
        first_names.setdefault(path, name)
    for path, name in first_names.items():
        is_list = path[-1] in form.lists
        properties[name] = (
            {**files, "maxItems": _max_items(schema, path[-1])}
            if is_list
            else {**file, "description": MASK}
            if path[-1] == "mask"
            else file
        )
    # A part of an object means something only together with the first part of the object.
    inner = [name for path, name in first_names.items() if len(path) > 1]
    needed: Json = dict.fromkeys(inner[1:], inner[:1])
    for name in form.json_fields or ():
        needed[name] = [next(iter(form.files))]
        properties[name] = {"type": "string", "format": name, "description": 'As JSON, such as {"up": 4}.'}
    return {
        "type": "object",
        "description": "A file part for each image and a form field for all others, repeated for a list. "
        "Instead of the form fields, one part named `request` may hold them all as a JSON object.",
        "properties": properties,
        "required": [name for name in schema.get("required", ()) if name in properties],
        "additionalProperties": False,
        **({"dependentRequired": needed} if needed else {}),
    }


def _max_items(schema: Json, name: str) -> int:
    """Return how many files a field of a form may repeat: as many as the list in JSON has items."""
    field = schema["properties"][name]
    return next(option["maxItems"] for option in (field, *field.get("anyOf", ())) if "maxItems" in option)


def _without_null(field: Json) -> Json:
    """Remove null from `anyOf: [X, null]` and from defaults. A form writes booleans as text."""
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    found = {key: value for key, value in field.items() if key != "anyOf"}
    if found.get("default", "") is None:
        del found["default"]
    found = {**options[0], **found} if len(options) == 1 else found if not options else field
    if found.get("type") != "boolean":
        return found
    default = {"default": str(found["default"]).lower()} if "default" in found else {}
    return {**found, "type": "string", "enum": _BOOLEANS, **default}


def _is_plain(field: Json) -> bool:
    return field.get("type") in ("string", "integer", "number", "boolean") or (
        field.get("type") == "array" and field["items"].get("type") == "string"
    )
