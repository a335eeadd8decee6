"""Turns an error of redis-py or of the socket into a sentence: what is wrong, and what to do."""

import re
from collections.abc import Iterable

from redis.asyncio.sentinel import MasterNotFoundError as AsyncMasterNotFoundError
from redis.sentinel import MasterNotFoundError

RIGHTS = "docs/security.md lists the rights that the queue needs."
_CHECK_SERVICE = (
    "Check the name of the service, that the addresses are those of Sentinels, their TLS and their password."
)
_COMMAND = re.compile(r"permissions? to run the '([^']+)' command")

_ADDRESS = re.compile(r"\S+:\d{1,5}\b")

# A part of the error's text → the sentence. By text, because scripts and redis-py wrap the errors of the
# server, and because servers differ.
_CAUSES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("WRONGPASS", "invalid username-password pair", "invalid password", "Invalid Username or Password"),
        "Redis refuses the user or the password of the URL (WRONGPASS).",
    ),
    (
        ("NOAUTH", "Authentication required"),
        "Redis requires a password (NOAUTH). Put it into the URL: redis://user:password@host.",
    ),
    (
        ("without any password configured",),
        "The URL has a password, but Redis requires none. Remove it from the URL, or set it in Redis.",
    ),
    (("protected mode",), "Redis is in protected mode and refuses other machines. Set a password in Redis."),
    (
        ("hostname mismatch", "IP address mismatch", "doesn't match"),
        "The TLS certificate of Redis is for another name than the host in the URL.",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed"),
        "The TLS certificate of Redis is not trusted. Name its authority in the URL: ?ssl_ca_certs=FILE.",
    ),
    (
        ("CERTIFICATE_REQUIRED", "certificate required", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE"),
        "Redis refuses the TLS connection. It may require a client certificate: "
        "?ssl_certfile=FILE&ssl_keyfile=FILE.",
    ),
    (
        ("WRONG_VERSION_NUMBER", "wrong version number", "record layer failure", "UNEXPECTED_EOF"),
        "The server does not speak TLS on this port. Use redis:// instead of rediss://, or its TLS port.",
    ),
    (
        (
            "Name or service not known", "Temporary failure in name resolution", "nodename nor servname",
            "No address associated",
        ),
        "The host name in the URL is unknown. Check its spelling and the name service.",
    ),
    (
        ("Connection refused", "Error 111", "[Errno 111]"),
        "No server listens at the address in the URL. Start Redis, or check the port.",
    ),
    (("No such file or directory",), "The Unix socket in the URL does not exist. Check its path."),
    (("Permission denied",), "This user may not open the Unix socket in the URL."),
    (("LOADING", "loading the dataset"), "Redis is reading its data from disk (LOADING). Wait for it."),
    (
        ("READONLY", "read only replica"),
        "The server is a replica and takes no writes (READONLY). Name the primary, or use redis+sentinel://.",
    ),
    (
        ("NOREPLICAS", "Not enough good replicas"),
        "Redis has fewer replicas than min-replicas-to-write (NOREPLICAS) and takes no writes. Restore them.",
    ),
    (
        ("MISCONF", "Errors trying to SAVE"),
        "Redis cannot write to its disk (MISCONF) and takes no writes. Its log has the reason.",
    ),
    (("MASTERDOWN",), "The server is a replica without a primary (MASTERDOWN). Restore the primary."),
    (("CLUSTERDOWN",), "The Redis Cluster is down (CLUSTERDOWN). Restore its nodes."),
    (("OOM command not allowed",), "The memory of Redis is full (OOM). Raise maxmemory."),
    (("DB index is out of range", "invalid DB index"), "Redis has no database of the number in the URL."),
    (("max number of clients",), "Redis has as many connections as it allows. Raise its maxclients."),
    (
        ("Cluster mode is not enabled", "cluster support disabled"),
        "The server is not a Redis Cluster. Use redis:// for it.",
    ),
    (
        ("Connection closed by server", "Connection reset", "ECONNRESET"),
        "The server closed the connection. If it requires TLS, use rediss://.",
    ),
    (
        ("Timeout", "timed out"),
        "The server does not answer in time. Check its load, the firewall and, with rediss://, that it "
        "speaks TLS.",
    ),
)  # fmt: skip
MISSING_RIGHTS = (
    "NOPERM",
    "ermissions to run",
    "ermissions to access",
    "can't run this command",
    "can't access at least one of the keys",
    "nknown command",
    "nknown Redis command",
)
"""Parts of the errors of a server that refuses a command, or has renamed it."""


def describe_error(error: BaseException) -> str:
    """Return what is wrong with the connection or the server, and the remedy. It names no address."""
    text = _text_of(error)
    sentence = next((sentence for parts, sentence in _CAUSES if any(part in text for part in parts)), None)
    if isinstance(error, (MasterNotFoundError, AsyncMasterNotFoundError)):
        return f"No Sentinel in the URL knows a primary of the service. {sentence or _CHECK_SERVICE}"
    if "nknown command" in text and "SENTINEL" in text:
        return "A server in the URL is not a Sentinel. Name the ports of Sentinels, or use redis:// for it."
    if any(part in text for part in MISSING_RIGHTS):
        command = _COMMAND.search(text)
        return missing_rights([command[1]] if command else [])
    return sentence or f"{type(error).__name__}: {_ADDRESS.sub('the server', str(error))}"


def missing_rights(commands: Iterable[str]) -> str:
    """Return the sentence about commands that the user of the URL may not run; `keys` stands for its keys."""
    names = [name.upper() for name in commands if name != "keys"]
    if names:
        return f"Redis does not let the user of the URL run {', '.join(names)}. {RIGHTS}"
    return f"Redis does not let the user of the URL use the keys or a command of the queue. {RIGHTS}"


def _text_of(error: BaseException | None) -> str:
    """Return the text of an error and of those that it came from."""
    parts: list[str] = []
    while error is not None and len(parts) < 5:
        parts.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return "\n".join(parts)
