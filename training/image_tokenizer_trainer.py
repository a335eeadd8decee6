"""Trains the image tokenizer: an autoencoder with a nearest-neighbour codebook kept by moving averages.

Knows `ImageTokenizer`'s parts and batches of pixels; not where pictures come from. The codebook is learnt as
in VQ-VAE (van den Oord et al., arXiv 1711.00937, appendix A.1) and then written into the tokenizer's
projection.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from model.config import VqganConfig
from model.image_tokenizer import ImageTokenizer
from training.codebook import MovingCodebook
from training.optimizer import Optimizer, OptimizerSettings
from training.precision import autocast
from training.sheets import save_sheet


@dataclass(frozen=True)
class PictureBatch:
    """Pictures to code, and what their codes shall draw."""

    pixels: Tensor
    """To be coded, shape = (batch, 3, side, side), in [0, 1]."""
    drawn: Tensor | None = None
    """To be drawn, shape = (drawn, 3, side, side), in [0, 1]; None: `pixels`."""
    sources: Tensor | None = None
    """int64, shape = (drawn, rows, columns): the place in `pixels` of the picture whose code each cell takes;
    None: each picture its own. So codes come to mean the same beside those of another picture."""

    def arranged(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Code vectors, shape = (batch, size, rows, columns), as they are drawn, and the pixels to draw."""
        if self.sources is None:
            return vectors, self.pixels if self.drawn is None else self.drawn
        assert self.drawn is not None
        rows = torch.arange(vectors.shape[2], device=vectors.device)[:, None]
        columns = torch.arange(vectors.shape[3], device=vectors.device)
        taken = vectors.permute(0, 2, 3, 1)[self.sources, rows, columns]
        return taken.permute(0, 3, 1, 2).contiguous(), self.drawn


Batches = Callable[[int, str], PictureBatch]
"""(step, stream) → the same batch for the same arguments."""


@dataclass(frozen=True)
class TokenizerTraining:
    """How the image tokenizer is trained."""

    total_steps: int
    optimizer: OptimizerSettings
    seed: int = 0
    unquantised_steps: int = 400
    """Steps before the codebook is made, so that it starts from features that mean something."""
    commitment: float = 0.25
    codebook_decay: float = 0.98
    reseed_every_steps: int = 25
    reseed_until: float = 0.8
    """Fraction of the steps after which unused codes are left alone."""
    fixed_codes: bool = False
    """Only the decoder learns, and every code keeps its meaning."""
    log_error: float = 0.0
    """Weight of the mean over the pictures of their squared errors' logarithms: PSNR but for a factor."""
    bf16: bool = True


class ImageTokenizerTrainer:
    """One optimiser step at a time, over `loop.run_loop`."""

    name = "image-tokenizer"

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        batches: Batches,
        settings: TokenizerTraining,
        *,
        resume_codebook: bool = False,
    ) -> None:
        """With `resume_codebook` the tokenizer's own codebook is trained on (fine-tuning, fixed codes)."""
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
        with autocast(device, enabled=settings.bf16):
            features = self._features(batch.pixels)
        vectors, losses = self._quantise(features, step) if self._codebook.ready else (features, {})
        vectors, pixels = batch.arranged(vectors)
        target = 2 * pixels - 1
        with autocast(device, enabled=settings.bf16):
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
        """Code vectors that hand gradients straight through, and what holds the features near them."""
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
        """Shape = (batch, embed_dim, rows, columns)."""
        # Contiguous: on CPU, GroupNorm is slow backwards on channels-last.
        coded = as_coded(pixels, self.tokenizer.config).contiguous()
        return self.tokenizer.quant_conv(self.tokenizer.encoder(2 * coded - 1)).float()

    @torch.no_grad()
    def _start_codebook(self, num_batches: int = 24) -> None:
        batches = [self._features(self._batches(index, "codebook").pixels) for index in range(num_batches)]
        self._codebook.start_from_clusters(torch.cat(batches), self._settings.seed)

    def finish(self) -> ImageTokenizer:
        """Write the codebook into the tokenizer, in the form that picks the nearest vector by an argmax."""
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
        self._codebook.load_state(state["codebook"])

    @torch.no_grad()
    def write_sheet(self, path: Path) -> None:
        """Pictures above what is left of them."""
        batch = self._batches(0, "sheet")
        features = self._features(batch.pixels)
        if self._codebook.ready:
            features = self._codebook.vectors(self._codebook.nearest(features))
        features, pixels = batch.arranged(features)
        drawn = (self.tokenizer.decode_vectors(features).clamp(-1, 1) + 1) / 2
        save_sheet(path, torch.cat([pixels, drawn]), columns=len(pixels))


def as_coded(pixels: Tensor, config: VqganConfig) -> Tensor:
    """Pictures of the side that is drawn, in the size that the encoder reads, as the server shrinks them.

    A wavelet decoder draws twice the side that its encoder reads. Shape (batch, 3, side, side).
    """
    if config.upsampling == config.downsampling:
        return pixels
    factor = config.downsampling / config.upsampling
    return functional.interpolate(pixels, scale_factor=factor, mode="bilinear", antialias=True)


def reconstruction_losses(drawn: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Pixel, edge and colour errors; both shape = (batch, 3, side, side), in [-1, 1]."""
    difference = drawn - target
    pooled = functional.avg_pool2d(difference, 8)
    return {
        "l1": difference.abs().mean(),
        "mse": 2.0 * difference.square().mean(),
        "edges": (difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()) / 2,
        "colour": pooled.abs().mean(),
    }


def log_error(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean logarithm of the pictures' squared errors; both shape = (batch, 3, side, side)."""
    # Nothing is drawn so well that the last bit of its bytes would count.
    return (drawn - target).square().mean(dim=(1, 2, 3)).clamp(min=1e-5).log().mean()


@torch.no_grad()
def write_codebook(tokenizer: ImageTokenizer, embedding: Tensor) -> None:
    """argmaxₖ(2·eₖ·z − |eₖ|²) = argminₖ|z − eₖ|²: the projection's weight is 2e, its bias −|e|².

    embedding: shape = (codebook_size, embed_dim).
    """
    quantize = tokenizer.quantize
    quantize.embed.weight.copy_(embedding)
    quantize.proj.weight.copy_(2 * embedding[:, :, None, None])
    assert quantize.proj.bias is not None
    quantize.proj.bias.copy_(-embedding.square().sum(1))


@torch.no_grad()
def has_nearest_projection(tokenizer: ImageTokenizer) -> bool:
    """Whether the projection is the one that `write_codebook` writes, up to the rounding of float16."""
    embedding = tokenizer.quantize.embed.weight
    weight = tokenizer.quantize.proj.weight[:, :, 0, 0]
    return torch.allclose(weight, 2 * embedding, rtol=2e-3, atol=1e-4)
