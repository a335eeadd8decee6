"""Augmented views of cut-out images: moved, rotated, scaled, recoloured, and drawn on a background.

Works on tensors only. Every random number comes from the generator of the caller, so a batch is a function of
its seed.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional


@dataclass(frozen=True)
class AugmentStrength:
    """Half-widths of the uniform ranges around the unchanged image."""

    shift: float = 0.0
    """Fraction of the image's side."""
    scale: float = 0.0
    """Relative to the unchanged value."""
    rotation_degrees: float = 0.0
    brightness: float = 0.0
    """Relative to the unchanged value."""
    background: float = 0.0
    """Added to each channel of the background, in [0, 1]."""


EMPTY_BELOW = 0.05
"""Largest alpha of a cell that counts as empty."""
NONE = AugmentStrength()
WEAK = AugmentStrength(shift=0.016, scale=0.03, rotation_degrees=2.0, brightness=0.02, background=0.01)
STRONG = AugmentStrength(shift=0.047, scale=0.1, rotation_degrees=8.0, brightness=0.1, background=0.03)


def uniform(shape: tuple[int, ...], half_width: float, generator: Generator) -> Tensor:
    """Return uniform random numbers in [-half_width, half_width)."""
    return (2.0 * torch.rand(shape, generator=generator) - 1.0) * half_width


def random_transforms(count: int, strength: AugmentStrength, generator: Generator) -> Tensor:
    """Return random maps from output to input coordinates in [-1, 1] for `affine_grid`, (count, 2, 3)."""
    angle = uniform((count,), math.radians(strength.rotation_degrees), generator)
    scale = 1.0 + uniform((count,), strength.scale, generator)
    shift = uniform((count, 2), 2.0 * strength.shift, generator)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    return torch.cat([rows, shift.unsqueeze(2)], dim=2)


@dataclass(frozen=True)
class View:
    """Transformed cut-outs with one brightness, without a background."""

    sprites: Tensor
    """Shape = (batch, 4, side, side), RGB multiplied by alpha, and alpha, in [0, 1]."""
    light: Tensor
    """Brightness factor of each image, shape = (batch, 1, 1, 1)."""

    def on(self, grounds: Tensor) -> Tensor:
        """Draw the cut-outs on plain colours; shapes (batch, 3) → (batch, 3, side, side), in [0, 1]."""
        pixels = self.sprites[:, :3] + (1.0 - self.sprites[:, 3:]) * grounds[:, :, None, None]
        return (pixels * self.light).clamp_(0.0, 1.0)

    def empty_cells(self, cells: int) -> Tensor:
        """Return which cells show only the background, bool, shape = (batch, cells, cells)."""
        covered = functional.max_pool2d(self.sprites[:, 3:], self.sprites.shape[-1] // cells)
        return covered[:, 0] < EMPTY_BELOW


def view_sprites(sprites: Tensor, side: int, strength: AugmentStrength, generator: Generator) -> View:
    """Return random views of cut-outs, shape = (batch, 4, height, width) as in `View.sprites`."""
    count = sprites.shape[0]
    transforms = random_transforms(count, strength, generator)
    grid = functional.affine_grid(transforms, [count, 4, side, side], align_corners=False)
    # At most half of the source side, so that bilinear sampling averages over whole source pixels.
    moved = functional.grid_sample(sprites, grid, padding_mode="zeros", align_corners=False)
    return View(moved, 1.0 + uniform((count, 1, 1, 1), strength.brightness, generator))


def augment_images(pixels: Tensor, strength: AugmentStrength, generator: Generator) -> Tensor:
    """Return random views of whole images; pixels from outside repeat the border.

    pixels: shape = (batch, 3, side, side), in [0, 1]. The result has the same shape.
    """
    if strength == NONE:
        return pixels
    count = pixels.shape[0]
    transforms = random_transforms(count, strength, generator)
    grid = functional.affine_grid(transforms, list(pixels.shape), align_corners=False)
    moved = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    light = 1.0 + uniform((count, 1, 1, 1), strength.brightness, generator)
    return (moved * light).clamp_(0.0, 1.0)
