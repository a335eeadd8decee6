"""Attention over cached keys in plain PyTorch: whole stretches of positions, and single decode steps.

Knows the cache and key positions; no weights. PyTorch's kernels sum the softmax in float32 for every dtype.
Flat positions in a pool count slot · length + position.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.network.cache import KeyValueCache
from model.network.layout import StepLayout
from model.network.masks import LayerKind


@dataclass(frozen=True)
class CacheSlots:
    """Slots of a cache that hold the keys and values of sequences; int64, shape = (sequences,)."""

    cache: KeyValueCache
    left_slots: Tensor
    slots: Tensor


def _attend(query: Tensor, key_value: Tensor, mask: Tensor) -> Tensor:
    """Return attention in token-major layout, in the shape of the query.

    query: shape = (sequences, queries, heads, head_size); key_value: shape = (sequences, keys, 2, heads,
    head_size); mask: bool, broadcastable to (sequences, heads, queries, keys).
    """
    keys, values = key_value[:, :, 0].transpose(1, 2), key_value[:, :, 1].transpose(1, 2)
    return scaled_dot_product_attention(query.transpose(1, 2), keys, values, attn_mask=mask).transpose(1, 2)


# Stretches of positions ---------------------------------------------------------------------------------


def attend_positions(
    fused: Tensor, mask: Tensor, past: CacheSlots | None, layer: int, start: int, *, write: bool
) -> Tensor:
    """Return the attention of positions [start, start + length) over themselves and the cached ones before.

    fused: queries, keys, values, shape = (sequences, length, 3, heads, head_size); mask: bool, shape =
    (length, start + length). With `write` the new keys and values are stored. Returns shape = (sequences,
    length, heads, head_size).
    """
    new = fused[:, :, 1:]
    if past is None:
        return _attend(fused[:, :, 0], new, mask).contiguous()
    left, body = past.cache.left[layer], past.cache.body[layer]
    if write:
        _write(new, left, body, past, start)
    left_length = left.shape[1]
    earlier = [left[past.left_slots, : min(start, left_length)]] if start else []
    if start > left_length:
        earlier.append(body[past.slots, : start - left_length])
    return _attend(fused[:, :, 0], torch.cat([*earlier, new], dim=1), mask).contiguous()


def _write(new: Tensor, left: Tensor, body: Tensor, past: CacheSlots, start: int) -> None:
    """Store the keys and values of positions from `start` on, (sequences, length, 2, heads, head_size)."""
    left_length, end = left.shape[1], start + new.shape[1]
    if start < left_length:
        left[past.left_slots, start : min(end, left_length)] = new[:, : left_length - start]
    if end > left_length:
        first = max(start, left_length)
        body[past.slots, first - left_length : end - left_length] = new[:, first - start :]


# Decode steps -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepSequences:
    """Sequences in the order of `layout`; positions (absolute) and slots: int64, shape = (sequences,)."""

    layout: StepLayout
    positions: Tensor
    left_slots: Tensor
    slots: Tensor


@dataclass(frozen=True)
class StepWrites:
    """Flat positions of new keys and values: of left text in the left pool, of the rest in the body."""

    left: Tensor
    body: Tensor

    @classmethod
    def of(cls, cache: KeyValueCache, sequences: StepSequences) -> "StepWrites":
        left_length, num_left = cache.config.left_text_length, sequences.layout.num_left
        positions, slots = sequences.positions, sequences.slots
        return cls(
            left=sequences.left_slots[:num_left] * left_length + positions[:num_left],
            body=slots[num_left:] * cache.body_length + positions[num_left:] - left_length,
        )

    def store(self, new: Tensor, left: Tensor, body: Tensor) -> None:
        """Store new keys and values, (sequences, 2, heads, head_size), in one layer's pools."""
        num_left = len(self.left)
        if num_left:
            left.view(-1, *left.shape[2:]).index_copy_(0, self.left, new[:num_left])
        if num_left < len(new):
            body.view(-1, *body.shape[2:]).index_copy_(0, self.body, new[num_left:])


@dataclass(frozen=True)
class DecodeStep:
    """Indices of one decode step, computed once and used by all layers.

    `image_keys[kind]`: flat body positions that image sequences read, shape = (image sequences, max_keys).
    `image_masks[kind]`: which of the left text and of these count, shape = (image sequences, 1, 1, keys).
    """

    sequences: StepSequences
    writes: StepWrites
    image_keys: dict[LayerKind, Tensor]
    image_masks: dict[LayerKind, Tensor]
    left_mask: Tensor | None
    right_mask: Tensor | None

    @classmethod
    def plan(
        cls,
        cache: KeyValueCache,
        tables: dict[LayerKind, tuple[Tensor, Tensor]],
        sequences: StepSequences,
    ) -> "DecodeStep":
        config, layout, device = cache.config, sequences.layout, sequences.positions.device
        keys: dict[LayerKind, Tensor] = {}
        masks: dict[LayerKind, Tensor] = {}
        if layout.num_image:
            own_cells = sequences.positions[layout.image] - config.left_text_length
            first = sequences.slots[layout.image, None] * cache.body_length
            all_left = torch.ones(layout.num_image, config.left_text_length, dtype=torch.bool, device=device)
            for kind, (cells, valid) in tables.items():
                keys[kind] = first + cells[own_cells]
                masks[kind] = torch.cat([all_left, valid[own_cells]], dim=1)[:, None, None]

        def causal(own: Tensor, extent: int) -> Tensor:
            return (torch.arange(extent, device=device) <= own[:, None])[:, None, None]

        left_mask = right_mask = None
        if layout.num_left:
            left_mask = causal(sequences.positions[: layout.num_left], layout.left_extent)
        if layout.num_right:
            extent = config.right_start + layout.right_extent
            right_mask = causal(sequences.positions[layout.right], extent)
        return cls(sequences, StepWrites.of(cache, sequences), keys, masks, left_mask, right_mask)

    def attend(self, fused: Tensor, cache: KeyValueCache, layer: int, kind: LayerKind) -> Tensor:
        """Store the new keys and values, then return the attention of one token per sequence.

        fused: shape = (sequences, 3, heads, head_size). Returns shape = (sequences, hidden).
        """
        left, body, query = cache.left[layer], cache.body[layer], fused[:, None, 0]
        left_slots, slots, layout = self.sequences.left_slots, self.sequences.slots, self.sequences.layout
        self.writes.store(fused[:, 1:], left, body)
        contexts: list[Tensor] = []
        if self.left_mask is not None:
            own = left[:, : self.left_mask.shape[-1]].index_select(0, left_slots[: layout.num_left])
            contexts.append(_attend(query[: layout.num_left], own, self.left_mask))
        if layout.num_image:
            flat, cells = body.view(-1, *body.shape[2:]), self.image_keys[kind]
            near = flat.index_select(0, cells.flatten()).view(*cells.shape, *body.shape[2:])
            key_value = torch.cat([left.index_select(0, left_slots[layout.image]), near], dim=1)
            contexts.append(_attend(query[layout.image], key_value, self.image_masks[kind]))
        if self.right_mask is not None:
            extent = self.right_mask.shape[-1] - left.shape[1]
            own = body[:, :extent].index_select(0, slots[layout.right])
            key_value = torch.cat([left.index_select(0, left_slots[layout.right]), own], dim=1)
            contexts.append(_attend(query[layout.right], key_value, self.right_mask))
        context = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
        return context.reshape(fused.shape[0], -1)
