"""What an error of redis-py means for a caller who may safely repeat the script."""

from enum import Enum, auto

from redis import exceptions

from jobs.errors import DataLost, QueueError, QueueFull, QueueUnavailable

_FULL_RETRY_AFTER_S = 10


class Verdict(Enum):
    AGAIN = auto()
    """It may or may not have run; the server is away, loading, or no longer the master."""
    LOAD = auto()
    """The server does not know the script yet."""
    DATA_LOST = auto()
    OTHER_EPOCH = auto()
    FULL = auto()
    """The server is at maxmemory; nothing was written."""
    BROKEN = auto()
    """An error of ours, or of a server that cannot run these scripts."""


_BY_WORDS = (
    ("NOSCRIPT", Verdict.LOAD),
    ("No matching script", Verdict.LOAD),
    ("NOEPOCH", Verdict.DATA_LOST),
    ("NEWEPOCH", Verdict.OTHER_EPOCH),
    ("OOM command not allowed", Verdict.FULL),
)
_PASSING_WORDS = (
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


def judge(error: Exception) -> Verdict:
    """Scripts wrap the errors of their commands in their own text, hence words and not classes."""
    text = str(error)
    if isinstance(error, exceptions.OutOfMemoryError):
        return Verdict.FULL
    for words, verdict in _BY_WORDS:
        if words in text:
            return verdict
    passing = (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.ClusterError,
        exceptions.RedisClusterException,
        exceptions.MovedError,
        exceptions.AskError,
        exceptions.ReadOnlyError,
        OSError,
    )
    if isinstance(error, passing) or any(words in text for words in _PASSING_WORDS):
        return Verdict.AGAIN
    return Verdict.BROKEN


def refusal(verdict: Verdict, error: Exception) -> QueueError:
    """The error to raise for a verdict that no repetition changes."""
    if verdict is Verdict.FULL:
        return QueueFull("the queue's memory is full", _FULL_RETRY_AFTER_S)
    if verdict in (Verdict.DATA_LOST, Verdict.OTHER_EPOCH):
        return DataLost("the queue has lost its data; an operator must look at it")
    return QueueError(f"the queue cannot run: {type(error).__name__}: {error}")


def unavailable() -> QueueUnavailable:
    return QueueUnavailable("the queue cannot be reached at the moment")
