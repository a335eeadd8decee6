"""Loads the Lua scripts of jobs/lua and knows their hashes. What they mean is written at the head of each."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

_WITHOUT_COMMON_PART = frozenset({"initialise"})


@dataclass(frozen=True)
class Script:
    """One script, ready for EVALSHA (by `sha`) or EVAL (by `text`)."""

    name: str
    text: str
    sha: str


@cache
def load_scripts() -> dict[str, Script]:
    """Every script of jobs/lua by name, with the common part in front."""
    texts = {
        file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
        for file in resources.files("jobs").joinpath("lua").iterdir()
        if file.name.endswith(".lua")
    }
    common = texts.pop("common")
    return {name: _script(name, common, text) for name, text in texts.items()}


def _script(name: str, common: str, text: str) -> Script:
    whole = text if name in _WITHOUT_COMMON_PART else f"{common}\n{text}"
    return Script(name, whole, hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest())
