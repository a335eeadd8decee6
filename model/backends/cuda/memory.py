"""The number of slots that fit the memory of a device, found at start and never while serving."""

import gc
from collections.abc import Callable
from logging import getLogger

import torch

from model.config import ModelConfig

MIN_SLOTS = 2
"""A guided image takes two."""
KEPT_SHARE = 0.75
"""Slots of the next attempt as a fraction of the last one."""
MIN_HEADROOM = 1 << 30
HEADROOM_SHARE = 0.05
"""Memory that is left to libraries: bytes, or a share of the device where that is more."""
WORK_BYTES = 40
"""Bytes of a layer's temporary values per position and hidden size: 34 in float16, and unaligned ends."""
MAX_WORK = 1 << 30
"""Bytes of temporary values that a step of prompts and scoring may take."""

OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # the driver, Triton's loader, instantiation of graphs
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cudnn_status_internal_error_device_allocation_failed",
    # cuDNN drops every engine whose workspace cannot be allocated: pytorch/pytorch#108645.
    "unable to find an engine to execute this computation",
)

logger = getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of the device is short, whichever library raised it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return any(known in text for known in OUT_OF_MEMORY_TEXTS)


def slot_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """Return the bytes of a slot: keys and values of a whole sequence, and its ids on the board."""
    key_value = 2 * config.num_layers * config.hidden_size * dtype.itemsize
    board = torch.int64.itemsize + torch.bool.itemsize
    return config.total_length * (key_value + board)


def step_tokens_for(config: ModelConfig, most: int) -> int:
    """Return how many positions a step of prompts and scoring may compute, `most` if they fit MAX_WORK."""
    return min(most, MAX_WORK // (WORK_BYTES * config.hidden_size))


def free_and_total(device: torch.device) -> tuple[int, int]:
    """Return the bytes that this process may still take, and all that it may; workers can share a device."""
    free, total = torch.cuda.mem_get_info(device)
    own = int(total * torch.cuda.get_per_process_memory_fraction(device))
    return min(free, own - torch.cuda.memory_reserved(device)), own


def headroom(total: int) -> int:
    """Return the bytes of a device of `total` bytes that are left to libraries."""
    return max(MIN_HEADROOM, int(total * HEADROOM_SHARE))


def estimate_num_slots(free: int, total: int, slot: int, work: int, asked: int) -> int:
    """Return how many slots to try first, `asked` at most and MIN_SLOTS at least; all sizes in bytes.

    slot: one slot; work: the largest temporary values of a step.
    """
    return max(MIN_SLOTS, min(asked, (free - headroom(total) - work) // slot))


def check_headroom(free: int, total: int) -> None:
    """Raise torch.OutOfMemoryError if less than the headroom is free."""
    needed = headroom(total)
    if free < needed:
        raise torch.OutOfMemoryError(
            f"{free >> 20} MiB of the device are free, fewer than the {needed >> 20} MiB that libraries need"
        )


def fewer_slots(num_slots: int) -> int:
    """Return what to try after `num_slots` did not fit; MIN_SLOTS is the least."""
    return max(MIN_SLOTS, min(int(num_slots * KEPT_SHARE), num_slots - 1))


def fit_num_slots(build: Callable[[int], None], num_slots: int, first: int | None = None) -> int:
    """Build with `num_slots`, or with fewer where memory is short; return how many there are.

    `build` allocates and runs all that will ever be needed, and frees it again if that fails. `first`: an
    estimate to begin with. Raises torch.OutOfMemoryError if not even MIN_SLOTS fit.
    """
    asked, num_slots = num_slots, first or num_slots
    while True:
        try:
            build(num_slots)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if num_slots <= MIN_SLOTS:
                raise torch.OutOfMemoryError(
                    f"The device's memory does not hold {num_slots} sequences beside the model: {error}"
                ) from error
            reason = str(error).partition(". ")[0]
        else:
            if num_slots < asked:
                logger.warning("%d of %d slots fit the device's memory", num_slots, asked)
            return num_slots
        # Outside the handler, whose traceback would keep the tensors of the failed attempt alive.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        fewer = fewer_slots(num_slots)
        logger.warning("%d slots do not fit the device's memory, trying %d: %s", num_slots, fewer, reason)
        num_slots = fewer
