"""Classifies errors of redis-py for the caller of a script."""

from enum import Enum, auto

from redis import exceptions

from jobs.contract.errors import CodecError, DataLost, NotPermitted, QueueError, QueueFull
from jobs.redis.causes import MISSING_RIGHTS, describe_error

_FULL_RETRY_AFTER_S = 10


class ErrorClass(Enum):
    """The reaction to an error: retry, load the script, or raise."""

    RETRYABLE = auto()
    """The script ran or did not run; the server is unreachable, loading, or no longer the master."""
    SCRIPT_MISSING = auto()
    """The server does not know the script yet: send its text."""
    DATA_LOST = auto()
    OTHER_EPOCH = auto()
    """The server has data of another epoch than the caller's."""
    FULL = auto()
    """The server is at maxmemory; nothing was written."""
    FORBIDDEN = auto()
    """The server refuses the user, or does not let it run a command."""
    FATAL = auto()
    """A bug of ours, or a server that cannot run the scripts."""


_BY_TEXT = (
    ("NOSCRIPT", ErrorClass.SCRIPT_MISSING),
    ("No matching script", ErrorClass.SCRIPT_MISSING),
    ("NOEPOCH", ErrorClass.DATA_LOST),
    ("NEWEPOCH", ErrorClass.OTHER_EPOCH),
    ("OOM command not allowed", ErrorClass.FULL),
)
_FORBIDDEN_TEXTS = (
    *MISSING_RIGHTS,
    "WRONGPASS",
    "NOAUTH",
    "Authentication required",
    "without any password configured",
    "protected mode",
    "DB index is out of range",
    "invalid DB index",
)
_FORBIDDEN_TYPES = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    exceptions.NoPermissionError,
)
_RETRYABLE_TEXTS = (
    "READONLY",
    "read only replica",
    "NOREPLICAS",
    "Not enough good replicas",
    "LOADING",
    "MISCONF",
    "Errors trying to SAVE",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MOVED",
    "ASK ",
    "UNBLOCKED",
    "BUSY",
)
_RETRYABLE_TYPES = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    exceptions.MovedError,
    exceptions.AskError,
    exceptions.ReadOnlyError,
    OSError,
)


def classify_error(error: Exception) -> ErrorClass:
    """Return the class of an error of redis-py or of the socket."""
    # By text, because a script wraps the errors of its commands in a text of its own.
    text = str(error)
    if isinstance(error, exceptions.OutOfMemoryError):
        return ErrorClass.FULL
    for part, error_class in _BY_TEXT:
        if part in text:
            return error_class
    if isinstance(error, _FORBIDDEN_TYPES) or any(part in text for part in _FORBIDDEN_TEXTS):
        return ErrorClass.FORBIDDEN
    if isinstance(error, _RETRYABLE_TYPES) or any(part in text for part in _RETRYABLE_TEXTS):
        return ErrorClass.RETRYABLE
    return ErrorClass.FATAL


def permanent_error(error_class: ErrorClass, error: Exception) -> QueueError:
    """Return the error to raise for a class that no retry changes."""
    if error_class is ErrorClass.FULL:
        return QueueFull("The memory of the queue is full. Try again later.", _FULL_RETRY_AFTER_S)
    if error_class in (ErrorClass.DATA_LOST, ErrorClass.OTHER_EPOCH):
        return DataLost(
            "The queue has lost its data. An operator must restore them or run "
            "`rudolph jobs accept-data-loss`."
        )
    if error_class is ErrorClass.FORBIDDEN:
        return NotPermitted(describe_error(error))
    if "WRONGTYPE" in str(error):
        return CodecError(
            "A key of the queue has a value of another type. Another program may have written it."
        )
    return QueueError(f"Redis refused a script of the queue: {type(error).__name__}: {error}")
