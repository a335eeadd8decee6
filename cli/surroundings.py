"""Prepares a process for its surroundings: proxies, the process list, signals, encodings."""

import ipaddress
import os
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
SECRETS = {"--api-key": "RUDOLPH_API_KEY", "--redis-url": "RUDOLPH_REDIS_URL"}
"""Options whose values may hold a secret, and the variables that replace them."""
INTERRUPTIONS = (signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asks the command to end. typer replaces a KeyboardInterrupt, and with it the exit code."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


def prepare() -> None:
    """Prepare this process, and so all processes that it starts. May replace the process by one like it."""
    hide_secrets()
    exempt_loopback()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A locale without Cyrillic or × must not end a command that has its result.
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, which no proxy can stand for."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def exempt_loopback() -> None:
    """Add loopback to NO_PROXY. Both spellings count, and programs differ in which one wins."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in known.split(",") if name.strip()]
    exempt = ",".join(dict.fromkeys([*names, *LOOPBACK_NAMES]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = exempt


def hide_secrets() -> None:
    """Start this command again with its secrets in variables. Every user can read its arguments with ps."""
    arguments, secrets = without_secrets(sys.orig_argv[1:])
    if secrets:
        _replace_process([sys.executable, *arguments], os.environ | secrets)


def without_secrets(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments without options that hold a secret, and the variables that replace them."""
    kept: list[str] = []
    secrets: dict[str, str] = {}
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            kept.append(argument)
            break
        option, equals, value = argument.partition("=")
        variable = SECRETS.get(option)
        if variable is None:
            kept.append(argument)
            continue
        given = value if equals else next(remaining, None)
        if given is not None and (option == "--api-key" or "@" in given):
            secrets[variable] = given
        else:
            kept += [argument] if equals or given is None else [argument, given]
    return [*kept, *remaining], secrets


@contextmanager
def interruptions() -> Generator[None]:
    """Raise Interrupted in this block for SIGTERM and SIGHUP, unless they are ignored, as by nohup."""

    def interrupt(number: int, _: FrameType | None) -> NoReturn:
        raise Interrupted(number)

    previous = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _replace_process(command: list[str], environment: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, environment)  # noqa: S606 - this command itself
