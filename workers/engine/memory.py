"""How many slots a device's memory holds, found out at start and never at run time.

Knows counts and out-of-memory errors; not what is built.
"""

import gc
from collections.abc import Callable
from logging import getLogger
from typing import TypeVar

import torch

Built = TypeVar("Built")

MIN_SLOTS = 2
"""A guided picture takes two."""
KEPT_SHARE = 0.75
"""Of the slots, after each try that did not fit."""

logger = getLogger(__name__)


def fewer_slots(num_slots: int) -> int:
    """What to try after `num_slots` did not fit; MIN_SLOTS is the least."""
    return max(MIN_SLOTS, min(int(num_slots * KEPT_SHARE), num_slots - 1))


def build_what_fits(build: Callable[[int], Built], num_slots: int) -> tuple[Built, int]:
    """Build with `num_slots`, or with fewer where the device's memory does not hold them.

    `build` allocates, and tries out, all that it will ever need. Raises torch.OutOfMemoryError where not even
    MIN_SLOTS fit.
    """
    asked = num_slots
    while True:
        try:
            built = build(num_slots)
        except torch.OutOfMemoryError as error:
            if num_slots <= MIN_SLOTS:
                raise
            reason = str(error).partition(". ")[0]
        else:
            if num_slots < asked:
                logger.warning("%d of %d slots fit the device's memory", num_slots, asked)
            return built, num_slots
        # Outside the handler, whose traceback would keep the failed try's tensors alive.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        fewer = fewer_slots(num_slots)
        logger.warning("%d slots do not fit the device's memory, trying %d: %s", num_slots, fewer, reason)
        num_slots = fewer
