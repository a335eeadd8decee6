"""Sparse attention: boolean masks of whole sequences, and tables of the keys that each image cell reads.

Knows positions only; both forms are derived from the same rules and are equal (see tests). Left text sees the
left text before it; right text sees everything before it. An image token sees all left text, and the image
cells that the kind of its layer allows.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from model.config import ModelConfig


class LayerKind(StrEnum):
    """The earlier image cells that an image token attends to."""

    ROW = "row"
    COL = "col"
    CONV = "conv"
    LAST_CONV = "last_conv"


def layer_kinds(config: ModelConfig) -> list[LayerKind]:
    """Return the kind of every layer. The order of the tests matters: a last column layer stays one."""

    def kind_of(layer: int) -> LayerKind:
        if layer % 4 == 1:
            return LayerKind.COL
        if layer == config.num_layers - 1:
            return LayerKind.LAST_CONV
        return LayerKind.CONV if layer % 4 == 3 else LayerKind.ROW

    return [kind_of(layer) for layer in range(config.num_layers)]


def image_mask(config: ModelConfig, kind: LayerKind) -> Tensor:
    """Return which cells (columns) each cell (rows) attends to, bool, shape = (W², W²), itself included."""
    width = config.image_width
    cell = torch.arange(config.image_length, device="cpu")
    distance = cell[:, None] - cell[None, :]
    causal = distance >= 0
    if kind is LayerKind.ROW:
        return causal & (distance <= width)
    if kind is LayerKind.COL:
        return causal & (distance % width == 0)
    reach = (config.kernel_size if kind is LayerKind.CONV else config.last_kernel_size) // 2
    row, column = cell // width, cell % width
    near_rows = (row[:, None] - row[None, :]).abs() <= reach
    near_columns = (column[:, None] - column[None, :]).abs() <= reach
    return causal & near_rows & near_columns


def full_mask(config: ModelConfig, kind: LayerKind) -> Tensor:
    """Return which positions (columns) each position (rows) attends to, bool, shape = (total, total)."""
    size = config.total_length
    mask = torch.ones(size, size, dtype=torch.bool, device="cpu").tril()
    image = slice(config.image_start, config.right_start)
    mask[image, image] = image_mask(config, kind)
    return mask


@dataclass(frozen=True)
class KeyTable:
    """The cells that each cell attends to, as a gather table.

    `cells`: int64, shape = (W², max_keys), ascending, padded with the cell itself;
    `valid`: bool, same shape, False at the padding.
    """

    cells: Tensor
    valid: Tensor

    @property
    def max_keys(self) -> int:
        return self.cells.shape[1]


def key_table(config: ModelConfig, kind: LayerKind) -> KeyTable:
    """Return the image mask of a layer kind as a table of keys."""
    mask = image_mask(config, kind)
    counts = mask.sum(dim=1)
    max_keys = int(counts.max())
    # A stable sort by "is masked" puts the visible cells first, in ascending order.
    cells = torch.sort((~mask).to(torch.int8), dim=1, stable=True).indices[:, :max_keys]
    valid = torch.arange(max_keys, device="cpu")[None, :] < counts[:, None]
    own = torch.arange(config.image_length, device="cpu")[:, None]
    return KeyTable(cells=torch.where(valid, cells, own).contiguous(), valid=valid)
