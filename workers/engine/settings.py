"""Limits of an engine: slots, and tokens of a step. Knows no environment variables."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineSettings:
    """Limits of one engine; None leaves a limit to the backend."""

    num_slots: int | None = None
    """Sequences that run at once; each has the keys and values of a whole sequence."""
    max_step_tokens: int | None = None
    """Positions that prompts and scoring may compute between two decode steps."""
    image_threads: int = 2
    """Threads that read and write image files."""
    weight_format: str = "auto"
    """How weights are stored on a CPU with kernels in C; see `model.backends.WEIGHT_FORMATS`."""

    def __post_init__(self) -> None:
        if self.num_slots is not None and self.num_slots < 2:
            raise ValueError("num_slots must be at least 2, because a guided image takes two.")
        if self.max_step_tokens is not None and self.max_step_tokens < 1:
            raise ValueError("max_step_tokens must be positive.")
        if self.image_threads < 1:
            raise ValueError("image_threads must be positive.")
