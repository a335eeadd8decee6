"""The heartbeat of a worker: itself and its model."""

from typing import Any

import msgspec

from jobs.contract.requests import IMAGE_SAMPLING, TEXT_SAMPLING, Sampling, Task

PUBLISHED_SAMPLING = {
    Task.TEXT2IMAGE: IMAGE_SAMPLING,
    Task.IMAGE2TEXT: TEXT_SAMPLING,
    Task.TEXT2TEXT: TEXT_SAMPLING,
}
"""Sampling settings of the published packages, by task."""


class ModelInfo(msgspec.Struct, frozen=True):
    """The loaded model. The API validates requests against it."""

    name: str
    revision: str
    generation: int
    image_width: int
    """Image codes along a side."""
    input_pixels: int
    """Side of the images that the encoder reads, in pixels."""
    output_pixels: int
    """Side of the images that the decoder draws, in pixels."""
    left_text_length: int
    right_text_length: int
    image_codebook_size: int
    tasks: tuple[Task, ...]
    device: str
    dtype: str
    created_s: float = 0.0
    """Time of the checkpoint's newest file, in seconds since 1970."""
    sampling: dict[str, Sampling] = msgspec.field(default_factory=dict)
    """Sampling settings by task for requests that omit them. A missing task has the published ones."""
    examples: dict[str, list[dict[str, Any]]] = msgspec.field(default_factory=dict)
    """Request bodies by task that the checkpoint answers well."""

    @property
    def identity(self) -> str:
        """What a job is accepted for, and what a queue serves: name@revision."""
        return f"{self.name}@{self.revision}"

    def sampling_of(self, task: Task) -> Sampling | None:
        """Return the sampling settings of a task for requests that omit them; None if it does not sample."""
        return self.sampling.get(task, PUBLISHED_SAMPLING.get(task))


class WorkerInfo(msgspec.Struct, frozen=True):
    """A worker's description. It expires soon after the worker stops sending it."""

    id: str
    host: str
    pid: int
    model: ModelInfo
    slots: int
    draining: bool
    version: str = ""
    """Release of the worker; empty for one that does not report it."""
    metrics: bytes = b""
    """The worker's metrics in the Prometheus text format."""
