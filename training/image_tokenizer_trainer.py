"""Trains the image tokenizer: an autoencoder with a nearest-neighbour codebook of moving averages.

The codebook is learnt as in VQ-VAE (van den Oord et al., arXiv 1711.00937, appendix A.1), then written into
the projection of the tokenizer. Batches of pixels come from the caller.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from model.backends.precision import trains_in_bfloat16
from model.config import VqganConfig
from model.image_tokenizer import ImageTokenizer
from training.codebook import MovingCodebook
from training.optimizer import Optimizer, OptimizerSettings
from training.precision import autocast
from training.sheets import save_sheet


@dataclass(frozen=True)
class ImageBatch:
    """Images to encode, and images that their codes must decode to."""

    pixels: Tensor
    """Images to encode, shape = (batch, 3, side, side), in [0, 1]."""
    drawn: Tensor | None = None
    """Targets of the decoder, shape = (drawn, 3, side, side), in [0, 1]; None for `pixels`."""
    sources: Tensor | None = None
    """int64, shape = (drawn, rows, columns): index in `pixels` of the image whose code each cell takes; None
    for the own image. So a code learns the same meaning next to codes of another image."""
    cells: Tensor | None = None
    """int64, shape = (drawn, rows, columns): the cell of the source, row × columns + column; None for
    the same cell. So a code learns the same meaning in another cell. Needs `sources`."""

    def arranged(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Arrange code vectors (batch, size, rows, columns) by `sources` and `cells`, with their targets."""
        if self.sources is None:
            return vectors, self.pixels if self.drawn is None else self.drawn
        assert self.drawn is not None
        rows, columns = vectors.shape[2:]
        cells = self.cells
        if cells is None:
            cells = torch.arange(rows * columns, device=vectors.device).view(rows, columns)
        taken = vectors.flatten(2).transpose(1, 2)[self.sources, cells]
        return taken.permute(0, 3, 1, 2).contiguous(), self.drawn


Batches = Callable[[int, str], ImageBatch]
"""(step, stream) → a batch, always the same for the same arguments."""


@dataclass(frozen=True)
class TokenizerTraining:
    """Settings of the training of the image tokenizer."""

    total_steps: int
    optimizer: OptimizerSettings
    seed: int = 0
    unquantised_steps: int = 400
    """Steps before the codebook is initialized, so that it starts from useful features."""
    commitment: float = 0.25
    codebook_decay: float = 0.98
    reseed_every_steps: int = 25
    reseed_until: float = 0.8
    """Fraction of the steps after which unused codes are not replaced any more."""
    fixed_codes: bool = False
    """Train the decoder only, so that every code keeps its meaning."""
    log_error: float = 0.0
    """Weight of the mean logarithm of the squared errors of the images, which is PSNR up to a factor."""
    bf16: bool = True


class ImageTokenizerTrainer:
    """Runs optimiser steps for `run_loop`."""

    name = "image-tokenizer"

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        batches: Batches,
        settings: TokenizerTraining,
        *,
        resume_codebook: bool = False,
    ) -> None:
        """resume_codebook: start from the codebook of the tokenizer (fine-tuning, fixed codes)."""
        self.tokenizer, self._batches, self._settings = tokenizer, batches, settings
        if settings.fixed_codes:
            tokenizer.requires_grad_(False)
            tokenizer.decoder.requires_grad_(True)
            tokenizer.post_quant_conv.requires_grad_(True)
        tokenizer.quantize.requires_grad_(False)
        tokenizer.train()
        blocks = (".down.", ".mid.", ".up.")
        filters = [
            weight
            for name, weight in tokenizer.named_parameters()
            if weight.ndim > 1 and any(part in name for part in blocks)
        ]
        self._optimizer = Optimizer(
            tokenizer.parameters(), settings.optimizer, settings.total_steps, matrices=filters
        )
        config = tokenizer.config
        self._codebook = MovingCodebook(config.codebook_size, config.embed_dim, settings.codebook_decay)
        if resume_codebook:
            self._codebook.start_from(tokenizer.quantize.embed.weight.detach().float())

    def train_step(self, step: int) -> dict[str, float]:
        settings = self._settings
        if step >= settings.unquantised_steps and not self._codebook.ready:
            self._start_codebook()
        batch = self._batches(step, "train")
        device = batch.pixels.device
        precision = "bf16" if settings.bf16 and trains_in_bfloat16(device) else "fp32"
        with autocast(device, precision):
            features = self._features(batch.pixels)
        vectors, losses = self._quantise(features, step) if self._codebook.ready else (features, {})
        vectors, pixels = batch.arranged(vectors)
        target = 2 * pixels - 1
        with autocast(device, precision):
            drawn = self.tokenizer.decode_vectors(vectors)
        losses |= reconstruction_losses(drawn.float(), target)
        if settings.log_error:
            losses["log"] = settings.log_error * log_error(drawn.float(), target)
        torch.stack(list(losses.values())).sum().backward()
        self._optimizer.step(step)
        error = ((drawn.detach().float().clamp(-1, 1) - target) / 2).square().mean()
        values = {name: float(value.detach()) for name, value in losses.items()}
        return {**values, "db": float(-10 * torch.log10(error)), "codes": float(self._codebook.num_used())}

    def _quantise(self, features: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return code vectors with straight-through gradients, and the loss that keeps features near them."""
        settings = self._settings
        codes = self._codebook.nearest(features)
        chosen = self._codebook.vectors(codes)
        if settings.fixed_codes:
            return chosen, {}
        losses = {"commit": functional.mse_loss(features, chosen) * settings.commitment}
        self._codebook.update(features.detach(), codes)
        reseed = step % settings.reseed_every_steps == 0
        if reseed and step < settings.reseed_until * settings.total_steps:
            self._codebook.reseed(features.detach(), settings.seed, step)
        return features + (chosen - features).detach(), losses

    def _features(self, pixels: Tensor) -> Tensor:
        """Encode pixels to features, shape = (batch, embed_dim, rows, columns)."""
        # Contiguous, because the backward pass of GroupNorm is slow on channels-last on a CPU.
        coded = as_coded(pixels, self.tokenizer.config).contiguous()
        return self.tokenizer.quant_conv(self.tokenizer.encoder(2 * coded - 1)).float()

    @torch.no_grad()
    def _start_codebook(self, num_batches: int = 24) -> None:
        batches = [self._features(self._batches(index, "codebook").pixels) for index in range(num_batches)]
        self._codebook.start_from_clusters(torch.cat(batches), self._settings.seed)

    def finish(self) -> ImageTokenizer:
        """Write the codebook into the tokenizer so that an argmax chooses the nearest vector; return it."""
        if not self._settings.fixed_codes:
            write_codebook(self.tokenizer, self._codebook.embedding)
        return self.tokenizer.eval()

    def state(self) -> dict[str, Any]:
        return {
            "tokenizer": self.tokenizer.state_dict(),
            "optimizer": self._optimizer.state(),
            "codebook": self._codebook.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.tokenizer.load_state_dict(state["tokenizer"])
        self._optimizer.load_state(state["optimizer"])
        device = self.tokenizer.quantize.embed.weight.device
        self._codebook.load_state(state["codebook"], device)

    @torch.no_grad()
    def write_sheet(self, path: Path) -> None:
        """Write images, and their reconstructions below them."""
        batch = self._batches(0, "sheet")
        features = self._features(batch.pixels)
        if self._codebook.ready:
            features = self._codebook.vectors(self._codebook.nearest(features))
        features, pixels = batch.arranged(features)
        drawn = (self.tokenizer.decode_vectors(features).clamp(-1, 1) + 1) / 2
        save_sheet(path, torch.cat([pixels, drawn]), columns=len(pixels))


def as_coded(pixels: Tensor, config: VqganConfig) -> Tensor:
    """Resize images to the input side of the encoder, as the server does; shape (batch, 3, side, side).

    A wavelet decoder draws twice the side that its encoder reads.
    """
    if config.upsampling == config.downsampling:
        return pixels
    factor = config.downsampling / config.upsampling
    return functional.interpolate(pixels, scale_factor=factor, mode="bilinear", antialias=True)


def reconstruction_losses(drawn: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return pixel, edge and colour losses; both shape = (batch, 3, side, side), in [-1, 1]."""
    difference = drawn - target
    pooled = functional.avg_pool2d(difference, 8)
    return {
        "l1": difference.abs().mean(),
        "mse": 2.0 * difference.square().mean(),
        "edges": (difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()) / 2,
        "colour": pooled.abs().mean(),
    }


def log_error(drawn: Tensor, target: Tensor) -> Tensor:
    """Return the mean logarithm of the squared errors of images; both shape = (batch, 3, side, side)."""
    # Errors below the last bit of a byte do not count.
    return (drawn - target).square().mean(dim=(1, 2, 3)).clamp(min=1e-5).log().mean()


@torch.no_grad()
def write_codebook(tokenizer: ImageTokenizer, embedding: Tensor) -> None:
    """Write code vectors as a projection: argmaxₖ(2·eₖ·z − |eₖ|²) = argminₖ|z − eₖ|².

    The weight of the projection is 2e, its bias −|e|².

    embedding: shape = (codebook_size, embed_dim).
    """
    quantize = tokenizer.quantize
    quantize.embed.weight.copy_(embedding)
    quantize.proj.weight.copy_(2 * embedding[:, :, None, None])
    assert quantize.proj.bias is not None
    quantize.proj.bias.copy_(-embedding.square().sum(1))


@torch.no_grad()
def has_nearest_projection(tokenizer: ImageTokenizer) -> bool:
    """Return whether `write_codebook` wrote the projection, up to the rounding of float16."""
    embedding = tokenizer.quantize.embed.weight
    weight = tokenizer.quantize.proj.weight[:, :, 0, 0]
    return torch.allclose(weight, 2 * embedding, rtol=2e-3, atol=1e-4)
