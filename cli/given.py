"""Fields of a request, from the options of a command."""

from typing import Any


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that have a value. The server or the model sets the defaults of the others."""
    return {name: value for name, value in fields.items() if value is not None}
