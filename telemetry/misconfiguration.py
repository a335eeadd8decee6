"""Reports a wrong setting: one line with its name, and a separate exit code."""

from pydantic import ValidationError

MISCONFIGURED = 78
"""Exit code of a process whose settings are wrong: EX_CONFIG of sysexits.h. A restart would fail again."""


def settings_fault(error: ValueError) -> str:
    """One line that names the variable at fault. Values are left out, unless a check of ours names one."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    name = "RUDOLPH_" + "_".join(str(part) for part in first["loc"]).upper()
    return f"{name}: {first['msg'].removeprefix('Value error, ')}"
