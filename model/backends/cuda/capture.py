"""Captures work as CUDA graphs. On a device without graphs the work itself is returned."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

Run = Callable[[], None]

HIGH_PRIORITY = -1
"""Priority of a stream whose kernels go before those of others."""


class Capturer:
    """Captures graphs that never run at the same time; they share their memory."""

    def __init__(self, device: torch.device, stream: torch.cuda.Stream | None = None) -> None:
        """`stream`: what the graphs will run on, if it is not the current stream of the thread."""
        self._device = device
        self._stream = stream
        self._pool: Any = None
        if device.type == "cuda":
            # The nodes of a graph keep the priority of the stream that they were captured on.
            self._stream = stream or torch.cuda.Stream(device, priority=HIGH_PRIORITY)
            self._pool = torch.cuda.graph_pool_handle()

    def capture(self, work: Run) -> Run:
        """Run the work once (kernels are compiled, libraries set up), then record it; return its replay."""
        stream = self._stream
        if stream is None:
            return work
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            work()
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            except BaseException:
                # Ending a broken capture fails too; the first error is the one to report (out of memory,
                # say).
                with suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        return graph.replay


def size_for(sizes: Sequence[int], count: int) -> int:
    """Return the smallest size that holds `count`; ValueError if none does."""
    for size in sizes:
        if size >= count:
            return size
    raise ValueError(f"{count} do not fit the largest graph, {sizes[-1]}")
