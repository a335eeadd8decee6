"""Data parallelism: processes of one `torchrun`, each with a share of every batch.

Every process builds the whole batch, counts its targets and runs its own sequences, so gradients add up to
those of one process. Without `torchrun` there is one process, and nothing is sent.
"""

import importlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

TIMEOUT = timedelta(minutes=60)
"""Longest wait for another process; one process encodes and measures while the others wait."""


@dataclass(frozen=True)
class Processes:
    """The place of this process among those of a run."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes."""
        if self.size == 1:
            return
        pending: list[distributed.Work] = []
        for parameter in parameters:
            if not parameter.requires_grad:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            work = distributed.all_reduce(parameter.grad, async_op=True)
            if work is not None:
                pending.append(work)
        for work in pending:
            work.wait()

    def add_values(self, values: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Return the sum of each value over all processes; all pass the same names."""
        if self.size == 1:
            return dict(values)
        names = sorted(values)
        total = torch.tensor([values[name] for name in names], dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return dict(zip(names, total.tolist(), strict=True))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is set in any process."""
        return self.add_values({"flag": float(flag)}, device)["flag"] > 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Processes()


def join_processes(device: torch.device) -> Processes:
    """Join the processes of `torchrun`, by its environment variables; ALONE without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if not distributed.is_initialized():
        # Its functions have the present process group as a default value. Imported later, they would keep the
        # group alive, and a thread of gloo that needs the interpreter while it ends aborts the process.
        importlib.import_module("torch.distributed.nn.functional")
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=TIMEOUT)
    return Processes(distributed.get_rank(), distributed.get_world_size())


def leave_processes(*, together: bool) -> None:
    """Leave the processes of `torchrun`, if this process joined any.

    `together`: wait for the others first. gloo aborts a process whose peer leaves during a last operation.
    """
    if distributed.is_initialized():
        if together:
            distributed.barrier()
        distributed.destroy_process_group()
