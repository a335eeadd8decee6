"""Versions of server programs, and whose files each of them reads. Knows no files and no processes.

Redis reads the files of every older Redis, and Valkey those of every older Valkey. Valkey was split from
Redis 7.2.4, so the two share their file formats up to Redis 7.2 and Valkey 8 (RDB version 11). Redis 7.4 and
Valkey 9 have separate formats (RDB versions 12 and 80), which the other program refuses.
"""

import re
from dataclasses import dataclass
from typing import Self

_LAST_SHARED = {"redis": (7, 2), "valkey": (8, 99)}
"""The newest version of each program whose files the other program can read."""
_FIRST_READER = (7, 2)
"""The oldest version, of either program, that reads every shared format."""


@dataclass(frozen=True)
class ServerVersion:
    """A program (`redis`, `valkey`) and its major and minor version. Patch releases keep the file format."""

    program: str
    number: tuple[int, int]

    @classmethod
    def parse(cls, program: str, number: str) -> Self:
        """Parse a program's name and a version such as `9.1.2`. Raises ValueError."""
        found = re.match(r"(\d{1,6})\.(\d{1,6})(\.|$)", number)
        if found is None or not re.fullmatch("[a-z]{1,32}", program):
            raise ValueError(f"{program} {number} is not the version of a server.")
        return cls(program, (int(found[1]), int(found[2])))

    def reads(self, writer: "ServerVersion") -> bool:
        """Whether this server reads every file that `writer` may have written."""
        if self.program == writer.program:
            return self.number >= writer.number
        last_shared = _LAST_SHARED.get(writer.program)
        return (
            self.program in _LAST_SHARED
            and last_shared is not None
            and writer.number <= last_shared
            and self.number >= _FIRST_READER
        )

    def __str__(self) -> str:
        return f"{self.program.capitalize()} {self.number[0]}.{self.number[1]}"
