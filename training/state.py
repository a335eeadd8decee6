"""State that makes training resumable: atomic files, and random numbers by step.

A batch is a function of (seed, step). So the step number is the state of all random generators and of the
data order, and a run that was killed resumes exactly at its last state file.
"""

import contextlib
import errno
import functools
import hashlib
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import torch

from model.files.pickles import DamagedFile, ForeignObjects, check_pickles
from model.files.weights import CheckpointError

LEAST_FREE_BYTES = 1 << 20
"""A write that fails with less room than this failed because the disk is full."""


class DiskFullError(OSError):
    """A file that does not fit on its disk; the message names the file and the room."""


@contextlib.contextmanager
def replace_file(path: Path) -> Generator[Path]:
    """Yield a temporary path; it replaces `path` when the block ends without an error.

    The temporary path has a fixed name, so a partial file of a killed process is overwritten by the next
    write. Two processes must not write one path: `lock_folder` prevents it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a dictionary of tensors and plain values. A kill leaves the old file or the new one.

    Raises DiskFullError, and leaves the old file, if there is no room.
    """
    try:
        with replace_file(path) as temporary:
            try:
                torch.save(state, temporary)
            except (OSError, RuntimeError) as error:
                # torch reports a full disk as an unexpected position in the file.
                full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
                if full or shutil.disk_usage(path.parent).free < LEAST_FREE_BYTES:
                    raise _disk_full(path, state) from error
                raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and not isinstance(error, DiskFullError):
            raise _disk_full(path, state) from error
        raise


def _disk_full(path: Path, state: dict[str, Any]) -> DiskFullError:
    needed = tensor_bytes(state)
    return DiskFullError(
        f"No space left for {path}: it has about {readable(needed)}, and needs them beside the old file. "
        "Free some space and start the command again; it resumes at the last saved state."
    )


def tensor_bytes(value: object) -> int:
    """Return the bytes of all tensors inside dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(tensor_bytes, cast(dict[object, object], value).values()))
    return sum(map(tensor_bytes, value)) if isinstance(value, list | tuple) else 0


def readable(num_bytes: float) -> str:
    """Return a size such as `3.9 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def load_state(path: Path) -> dict[str, Any] | None:
    """Read a file of `save_state`; return None if there is none. Reads tensors and plain values only.

    Raises CheckpointError for a file that has anything else, or is damaged.
    """
    if not path.is_file():
        return None
    try:
        check_pickles(path)
    except (ForeignObjects, DamagedFile) as error:
        raise CheckpointError(
            f"{path.name} is not a state of a training ({str(error).rstrip('.')}). Remove it to start again."
        ) from error
    return cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))


def step_generator(seed: int, step: int, stream: str = "") -> torch.Generator:
    """Return the random generator of one step. Streams of different names are independent."""
    digest = hashlib.sha256(f"{seed}/{step}/{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def epoch_batch(seed: int, step: int, batch: int, size: int, stream: str = "order") -> list[int]:
    """Return the indices of the batch of a step. Each epoch has every example once, in a new order."""
    return epoch_indices(seed, step * batch, batch, size, stream)


def epoch_indices(seed: int, first: int, count: int, size: int, stream: str = "order") -> list[int]:
    """Return `count` indices from position `first` of endless epochs in random orders."""
    if size < 1:
        raise ValueError("The data set is empty.")
    positions = (divmod(position, size) for position in range(first, first + count))
    return [_order(seed, epoch, size, stream)[offset] for epoch, offset in positions]


@functools.lru_cache(maxsize=32)
def _order(seed: int, epoch: int, size: int, stream: str) -> list[int]:
    return cast(list[int], torch.randperm(size, generator=step_generator(seed, epoch, stream)).tolist())
