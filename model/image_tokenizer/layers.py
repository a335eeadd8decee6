"""Building blocks of the VQGAN: residual and attention blocks, one resolution level, resampling, wavelets.

Attribute names are the official tensor names. Architecture: Esser et al., "Taming Transformers for
High-Resolution Image Synthesis", arXiv 2012.09841, appendix A.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPSILON = 1e-6


def group_norm(channels: int, num_groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups, channels, eps=NORM_EPSILON)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each after GroupNorm and SiLU, with a residual connection."""

    def __init__(self, in_channels: int, out_channels: int, num_groups: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels, num_groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, num_groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """x: Tensor, shape = (batch, in_channels, height, width) → (batch, out_channels, height, width)"""
        hidden = self.conv1(functional.silu(self.norm1(x)))
        hidden = self.conv2(functional.silu(self.norm2(hidden)))
        return hidden + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttentionBlock(nn.Module):
    """Single-head self-attention over all cells, with a residual connection."""

    def __init__(self, channels: int, num_groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, num_groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: Tensor, shape = (batch, channels, height, width)"""
        normed = self.norm(x)
        query, key, value = (
            projection(normed).flatten(2).transpose(1, 2).unsqueeze(1)
            for projection in (self.q, self.k, self.v)
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        return x + self.proj_out(attended.squeeze(1).transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Halves both sides. The input is padded with one zero, on the right and at the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles both sides: repeats each cell, then applies a 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks of one resolution, with attention after each block if the level has it."""

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int, num_groups: int, *, attention: bool
    ) -> None:
        super().__init__()
        inputs = [in_channels] + [out_channels] * (num_blocks - 1)
        self.block = nn.ModuleList(ResidualBlock(size, out_channels, num_groups) for size in inputs)
        self.attn = nn.ModuleList(
            AttentionBlock(out_channels, num_groups) for _ in range(num_blocks if attention else 0)
        )
        self.downsample: Downsample | None = None
        self.upsample: Upsample | None = None

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[index](x)
        if self.downsample is not None:
            x = self.downsample(x)
        if self.upsample is not None:
            x = self.upsample(x)
        return x


class Middle(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, channels: int, num_groups: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, num_groups)
        self.attn_1 = AttentionBlock(channels, num_groups)
        self.block_2 = ResidualBlock(channels, channels, num_groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class InverseWavelet(nn.Module):
    """One level of the inverse Haar transform. The file contains the filters, so they are buffers."""

    g0_col: Tensor
    g1_col: Tensor
    g0_row: Tensor
    g1_row: Tensor

    def __init__(self) -> None:
        super().__init__()
        low = torch.tensor([0.5, 0.5]).sqrt()
        high = low * torch.tensor([1.0, -1.0])
        self.register_buffer("g0_col", low.view(1, 1, 2, 1))
        self.register_buffer("g1_col", high.view(1, 1, 2, 1))
        self.register_buffer("g0_row", low.view(1, 1, 1, 2).clone())
        self.register_buffer("g1_row", high.view(1, 1, 1, 2).clone())

    def forward(self, bands: Tensor) -> Tensor:
        """Compute an image of twice the side.

        bands: Tensor, shape = (batch, 12, height, width): three channels of the low band, then for each of
        the three channels its bands high-vertical, high-horizontal and high-both.
        """
        batch, _, height, width = bands.shape
        low = bands[:, :3].unsqueeze(2)
        high = bands[:, 3:].reshape(batch, 3, 3, height, width)
        # The reference uses the `col` filters in the horizontal pass and the `row` filters in the vertical.
        vertical = torch.stack([self.g0_row.flatten(), self.g1_row.flatten()])
        horizontal = torch.stack([self.g0_col.flatten(), self.g1_col.flatten()])
        kernels = torch.stack([torch.outer(vertical[band & 1], horizontal[band >> 1]) for band in range(4)])
        cells = torch.einsum("bckhw,kpq->bchpwq", torch.cat([low, high], dim=2), kernels)
        return cells.reshape(batch, 3, 2 * height, 2 * width)
