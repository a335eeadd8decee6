"""Runs the features of a client against a server and prints one JSON line for each.

A program is a file of this folder. It runs in the environment of its client, so it imports this file and
nothing of the project. Usage: program.py URL IMAGE.
"""

import base64
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

URL, IMAGE = sys.argv[1], Path(sys.argv[2])
BASE = f"{URL}/v1"
PICTURE = IMAGE.read_bytes()
PICTURE_URI = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
WORD = "фоне"
"""Every text of the demo checkpoint has it: an object on a coloured background."""
Feature = Callable[[], str | None]


def is_png(data: bytes | str) -> bool:
    data = base64.b64decode(data) if isinstance(data, str) else data
    return data.startswith(b"\x89PNG")


def refused(call: Callable[[], object], code: str, *, words: str = "") -> str:
    """Return the result of a feature that the server refuses. Raises AssertionError without that refusal.

    words: what the client's error has of the server's message, if it does not keep the code.
    """
    try:
        reply = call()
    except Exception as error:
        if (words or code) in _words(error):
            return f"refused: `{code}`"
        raise
    raise AssertionError(f"not refused with {code}: {reply!r}")


def _words(error: BaseException | None) -> str:
    """Return what an exception and its causes say: clients keep the reply in different places."""
    if error is None:
        return ""
    response = getattr(getattr(error, "response", None), "text", "")
    return f"{error!r} {vars(error)} {response} {_words(error.__cause__ or error.__context__)}"


def run(client: str, features: dict[str, Feature]) -> None:
    """Run all features. The value of one is a note about its result; an exception is a failure."""
    for name, feature in features.items():
        line = {"client": client, "feature": name, "failed": False}
        try:
            line["result"] = feature() or "works"
        except Exception as error:
            traceback.print_exc()
            line |= {"result": f"fails: {type(error).__name__}: {str(error)[:300]}", "failed": True}
        print(json.dumps(line, ensure_ascii=False), flush=True)
