"""What a worker announces of itself and of its model, with every heartbeat."""

import msgspec

from jobs.job import Task


class ModelInfo(msgspec.Struct, frozen=True):
    """The loaded model, as a worker announces it; the API validates requests against it."""

    name: str
    revision: str
    generation: int
    image_width: int
    """Cells along a side."""
    input_pixels: int
    """Side of the pictures that the encoder reads."""
    output_pixels: int
    """Side of the pictures that the decoder draws."""
    left_text_length: int
    right_text_length: int
    image_codebook_size: int
    tasks: tuple[Task, ...]
    device: str
    dtype: str
    created_s: float = 0.0
    """When the checkpoint's newest file was written, in seconds since 1970."""


class WorkerInfo(msgspec.Struct, frozen=True):
    """Written by a worker with every heartbeat; gone (TTL) soon after the worker is."""

    id: str
    host: str
    pid: int
    model: ModelInfo
    slots: int
    draining: bool
    metrics: bytes = b""
    """Prometheus text exposition of the worker's own registry."""
