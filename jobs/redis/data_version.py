"""Finds out which server program and version wrote a data directory.

There are two sources: a note of the embedded server, and the head of the file that the server loads first.
The note also covers data that were appended after that file was written. The head covers directories without
a readable note.
"""

import contextlib
import json
import os
import re
from pathlib import Path

from jobs.redis.server_version import ServerVersion

NOTE = "written-by.json"
_AOF = "appendonly.aof"
_AOF_DIRECTORY = "appendonlydir"
_HEAD_BYTES = 64
_HEAD = re.compile(rb"(?:REDIS|VALKEY)\d{3,4}\xfa.(redis|valkey)-ver.(\d+\.\d+\.\d+)", re.DOTALL)
"""Magic, format version, then the first auxiliary field: the writer's version. Lengths are single bytes."""
_BASE = re.compile(r'^file (?:"([^"\\]+)"|(\S+)) .*\btype b\b', re.MULTILINE)
_FIRST_WITH_DIRECTORY = ServerVersion("redis", (7, 0))
"""Older servers ignore the directory and would start empty."""


def writers_of(directory: Path) -> tuple[ServerVersion, ...]:
    """Return the known writers of a directory; none for a directory without data.

    A server must read the files of all of them.
    """
    if not has_data(directory):
        return ()
    found = [_of_note(directory / NOTE), _of_head(directory)]
    if (directory / _AOF_DIRECTORY).exists():
        found.append(_FIRST_WITH_DIRECTORY)
    return tuple(dict.fromkeys(version for version in found if version is not None))


def has_data(directory: Path) -> bool:
    """Whether the directory holds data of a server."""
    return (directory / _AOF_DIRECTORY).exists() or (directory / _AOF).exists()


def note_writer(directory: Path, version: ServerVersion) -> None:
    """Record the server that writes to the directory from now on. An equal note is not written again."""
    note = directory / NOTE
    if _of_note(note) == version:
        return
    text = json.dumps({"program": version.program, "version": "{}.{}".format(*version.number)})
    partial = directory / f"{NOTE}.partial"
    with partial.open("w", encoding="ascii") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(note)


def _of_note(note: Path) -> ServerVersion | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        fields = json.loads(note.read_bytes())
        return ServerVersion.parse(fields["program"], fields["version"])
    return None


def _of_head(directory: Path) -> ServerVersion | None:
    """Return the writer that the base file of the append-only log names; None if it names none."""
    files = directory / _AOF_DIRECTORY
    with contextlib.suppress(OSError, ValueError):
        base = directory / _AOF
        if files.exists():
            named = _BASE.search((files / f"{_AOF}.manifest").read_text(encoding="utf-8"))
            if named is None:
                return None
            base = files / (named[1] or named[2])
        with base.open("rb") as file:
            head = _HEAD.match(file.read(_HEAD_BYTES))
        return ServerVersion.parse(head[1].decode(), head[2].decode()) if head else None
    return None
