"""Trains the decoder alone, on codes with the pictures that they shall draw; every code keeps its meaning.

Knows `ImageTokenizer`'s decoder; which codes draw which pictures is the caller's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.image_tokenizer import ImageTokenizer
from training.image_tokenizer_trainer import reconstruction_losses
from training.optimizer import Optimizer, OptimizerSettings
from training.precision import autocast
from training.sheets import save_sheet

CodedBatches = Callable[[int, str], tuple[Tensor, Tensor]]
"""(step, stream) → codes, shape = (batch, cells), and pixels, shape = (batch, 3, side, side), in [0, 1]."""


@dataclass(frozen=True)
class DrawingTraining:
    """How the decoder is trained."""

    total_steps: int
    optimizer: OptimizerSettings
    bf16: bool = True


class DrawingTrainer:
    """One optimiser step at a time, over `loop.run_loop`."""

    name = "drawing"

    def __init__(self, tokenizer: ImageTokenizer, batches: CodedBatches, settings: DrawingTraining) -> None:
        self.tokenizer, self._batches, self._settings = tokenizer, batches, settings
        tokenizer.requires_grad_(False)
        tokenizer.decoder.requires_grad_(True)
        tokenizer.post_quant_conv.requires_grad_(True)
        self._optimizer = Optimizer(tokenizer.parameters(), settings.optimizer, settings.total_steps)

    def train_step(self, step: int) -> dict[str, float]:
        codes, pixels = self._batches(step, "train")
        target = 2 * pixels - 1
        with autocast(pixels.device, enabled=self._settings.bf16):
            drawn = self._draw(codes)
        losses = reconstruction_losses(drawn.float(), target)
        torch.stack(list(losses.values())).sum().backward()
        self._optimizer.step(step)
        error = ((drawn.detach().float().clamp(-1, 1) - target) / 2).square().mean()
        values = {name: float(value.detach()) for name, value in losses.items()}
        return {**values, "db": float(-10 * torch.log10(error))}

    def _draw(self, codes: Tensor) -> Tensor:
        side = round(codes.shape[1] ** 0.5)
        vectors = self.tokenizer.quantize.embed(codes.unflatten(1, (side, side)))
        # Contiguous: on CPU, GroupNorm is slow backwards on channels-last.
        return self.tokenizer.decode_vectors(vectors.permute(0, 3, 1, 2).contiguous())

    def state(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer.state_dict(), "optimizer": self._optimizer.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.tokenizer.load_state_dict(state["tokenizer"])
        self._optimizer.load_state(state["optimizer"])

    @torch.no_grad()
    def write_sheet(self, path: Path) -> None:
        """Pictures above what their codes draw."""
        codes, pixels = self._batches(0, "sheet")
        drawn = (self._draw(codes).clamp(-1, 1) + 1) / 2
        save_sheet(path, torch.cat([pixels, drawn]), columns=len(pixels))
