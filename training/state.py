"""What makes training resumable: files replaced whole or not at all, and random numbers from the step.

A batch is a function of (seed, step), so the step counter is the state of every random generator and of the
data order, and a run that was killed goes on exactly where its last state file stands.
"""

import contextlib
import hashlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import torch


@contextlib.contextmanager
def replace_file(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`; it takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a dictionary of tensors and plain values; a kill at any moment leaves the old file or the new."""
    with replace_file(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path) -> dict[str, Any] | None:
    """Read what `save_state` wrote; None if there is no such file. Reads tensors and plain values only."""
    if not path.is_file():
        return None
    return cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))


def step_generator(seed: int, step: int, stream: str = "") -> torch.Generator:
    """The random numbers of one step; streams of different names are independent."""
    digest = hashlib.sha256(f"{seed}/{step}/{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def epoch_batch(seed: int, step: int, batch: int, size: int, stream: str = "order") -> list[int]:
    """Indices of one step's batch: every example once an epoch, in an order drawn anew for each epoch."""
    if size < 1:
        raise ValueError("there is nothing to train on")
    indices: list[int] = []
    orders: dict[int, list[int]] = {}
    for position in range(step * batch, (step + 1) * batch):
        epoch, offset = divmod(position, size)
        if epoch not in orders:
            orders[epoch] = torch.randperm(size, generator=step_generator(seed, epoch, stream)).tolist()
        indices.append(orders[epoch][offset])
    return indices
