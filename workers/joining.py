"""Lets a worker join its queue before it claims a job. Knows no engine.

A queue is served with one model at a time. A worker of another model is refused with one line, and so is a
worker whose Redis user lacks a right.
"""

import threading
import time
from collections.abc import Callable

from jobs.contract.errors import NotPermitted, OtherModel, QueueError, QueueUnavailable
from jobs.contract.worker_info import WorkerInfo
from jobs.worker.consumer import JobConsumer
from telemetry.logging import get_logger
from workers.heartbeat import TTL_S

logger = get_logger("workers.joining")

HELD_FOR_S = TTL_S + 2
"""Time after which a queue that a stopped or killed worker held is free."""
RETRY_S = 1.0


def join(consumer: JobConsumer, describe: Callable[[], WorkerInfo], draining: threading.Event) -> str | None:
    """Announce the worker. Returns why the queue refuses it; None after it has joined, or when it drains.

    Waits for Redis, and for a queue whose workers of another model are leaving.
    """
    give_up_at: float | None = None
    reported = ""
    while not draining.is_set():
        try:
            consumer.check_rights()
            consumer.join(describe())
        except NotPermitted as error:
            return error.reason
        except OtherModel as error:
            reason = str(error)
            give_up_at = give_up_at or time.monotonic() + HELD_FOR_S
            if time.monotonic() >= give_up_at:
                return reason
        except QueueError as error:
            reason = error.reason if isinstance(error, QueueUnavailable) else str(error)
        else:
            return None
        if reason != reported:
            logger.warning("not_joined", message=reason, retry_s=RETRY_S)
            reported = reason
        draining.wait(RETRY_S)
    return None
