"""How large the engine is. Knows numbers only."""

from dataclasses import dataclass

CPU_STEP_TOKENS = 512
CUDA_STEP_TOKENS = 16384


@dataclass(frozen=True)
class EngineSettings:
    """Limits of one engine."""

    num_slots: int = 16
    """Sequences that run at once; each holds a whole sequence of keys and values."""
    max_step_tokens: int | None = None
    """Positions computed between two decode steps (prompts and scoring); None: by device."""
    picture_threads: int = 2
    """Threads that read and write picture files."""
    int8_weights: bool = False
    """On a CPU: layers in whole numbers, faster at some loss of quality. Elsewhere nothing changes."""

    def __post_init__(self) -> None:
        if self.num_slots < 2:
            raise ValueError("num_slots must be at least 2: a guided picture takes two")
        if self.max_step_tokens is not None and self.max_step_tokens < 1:
            raise ValueError("max_step_tokens must be positive")
        if self.picture_threads < 1:
            raise ValueError("picture_threads must be positive")

    def step_tokens(self, device_type: str) -> int:
        """Positions a step may compute beside decoding, on this kind of device."""
        if self.max_step_tokens is not None:
            return self.max_step_tokens
        return CPU_STEP_TOKENS if device_type == "cpu" else CUDA_STEP_TOKENS
