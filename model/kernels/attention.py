"""Attention over cached keys in plain PyTorch, for rows of many positions and for single decode steps.

Knows the cache and key positions; no weights. Sums of the softmax are float32 inside the SDPA kernels,
whatever the dtype.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.kernels.cpu_attention import attend_suffix, runs_of
from model.kernels.grouped_rows import GroupedRows, StepWrites, gather
from model.kv_cache import KeyValueCache
from model.masks import LayerKind


@dataclass(frozen=True)
class CachedRows:
    """Where rows keep their keys and values; left_slots, slots: int64, shape = (rows,)."""

    cache: KeyValueCache
    left_slots: Tensor
    slots: Tensor


def _attend(query: Tensor, key_value: Tensor, mask: Tensor) -> Tensor:
    """SDPA in token-major layout.

    query: shape = (rows, queries, heads, head_size); key_value: shape = (rows, keys, 2, heads, head_size);
    mask: bool, broadcastable to (rows, heads, queries, keys). Returns the shape of the query.
    """
    keys, values = key_value[:, :, 0].transpose(1, 2), key_value[:, :, 1].transpose(1, 2)
    return scaled_dot_product_attention(query.transpose(1, 2), keys, values, attn_mask=mask).transpose(1, 2)


def attend_rows(
    fused: Tensor, mask: Tensor, past: CachedRows | None, layer: int, start: int, *, write: bool
) -> Tensor:
    """Attention of positions [start, start + length) over themselves and, from the cache, those before.

    fused: queries, keys, values, shape = (rows, length, 3, heads, head_size); mask: bool, shape = (length,
    start + length). With `write` the new keys and values are stored. Returns (rows, length, heads,
    head_size).
    """
    new = fused[:, :, 1:]
    if past is None:
        return _attend(fused[:, :, 0], new, mask).contiguous()
    left, body = past.cache.left[layer], past.cache.body[layer]
    if write:
        _write_rows(new, left, body, past, start)
    left_length = left.shape[1]
    sees_prefix_whole = start == left_length or start >= past.cache.config.right_start
    if sees_prefix_whole and fused.device.type == "cpu":
        pools = [(left, runs_of(past.left_slots.tolist()), left_length)]
        if start > left_length:
            pools.append((body, runs_of(past.slots.tolist()), start - left_length))
        return attend_suffix(fused, mask[:, start:], pools)
    earlier = [left[past.left_slots, : min(start, left_length)]] if start else []
    if start > left_length:
        earlier.append(body[past.slots, : start - left_length])
    return _attend(fused[:, :, 0], torch.cat([*earlier, new], dim=1), mask).contiguous()


def _write_rows(new: Tensor, left: Tensor, body: Tensor, past: CachedRows, start: int) -> None:
    """Store the keys and values of new positions from `start` on; (rows, length, 2, heads, head_size)."""
    left_length, end = left.shape[1], start + new.shape[1]
    if start < left_length:
        left[past.left_slots, start : min(end, left_length)] = new[:, : left_length - start]
    if end > left_length:
        first = max(start, left_length)
        body[past.slots, first - left_length : end - left_length] = new[:, first - start :]


@dataclass(frozen=True)
class DecodeStep:
    """Indices of one decode step, computed once and used by all layers.

    `image_keys[kind]`: flat body places that image rows read, shape = (image rows, max_keys), and
    `image_masks[kind]` which of them and of the left text count, shape = (image rows, 1, 1, keys).
    """

    rows: GroupedRows
    writes: StepWrites
    image_keys: dict[LayerKind, Tensor]
    image_masks: dict[LayerKind, Tensor]
    left_mask: Tensor | None
    right_mask: Tensor | None

    @classmethod
    def plan(
        cls, cache: KeyValueCache, tables: dict[LayerKind, tuple[Tensor, Tensor]], rows: GroupedRows
    ) -> "DecodeStep":
        config, groups, device = cache.config, rows.groups, rows.positions.device
        keys: dict[LayerKind, Tensor] = {}
        masks: dict[LayerKind, Tensor] = {}
        if groups.num_image:
            image_cells = rows.image_cells(cache)
            all_left = torch.ones(groups.num_image, config.left_text_length, dtype=torch.bool, device=device)
            for kind, (cells, valid) in tables.items():
                keys[kind] = rows.image_places(cache, cells)
                masks[kind] = torch.cat([all_left, valid[image_cells]], dim=1)[:, None, None]

        def causal(own: Tensor, extent: int) -> Tensor:
            return (torch.arange(extent, device=device) <= own[:, None])[:, None, None]

        left_mask = right_mask = None
        if groups.num_left:
            left_mask = causal(rows.positions[: groups.num_left], groups.left_extent)
        if groups.num_right:
            right_mask = causal(rows.positions[rows.right], config.right_start + groups.right_extent)
        return cls(rows, StepWrites.of(cache, rows), keys, masks, left_mask, right_mask)

    def attend(self, fused: Tensor, cache: KeyValueCache, layer: int, kind: LayerKind) -> Tensor:
        """Attention of one token a row; stores its keys and values first.

        fused: shape = (rows, 3, heads, head_size), rows ordered by segment. Returns shape = (rows, hidden).
        """
        left, body, query = cache.left[layer], cache.body[layer], fused[:, None, 0]
        left_slots, slots, num_left = self.rows.left_slots, self.rows.slots, self.rows.groups.num_left
        self.writes.store(fused[:, 1:], left, body)
        contexts: list[Tensor] = []
        if self.left_mask is not None:
            own = left[:, : self.left_mask.shape[-1]].index_select(0, left_slots[:num_left])
            contexts.append(_attend(query[:num_left], own, self.left_mask))
        if self.rows.groups.num_image:
            rows = self.rows.image
            near = gather(body, self.image_keys[kind])
            key_value = torch.cat([left.index_select(0, left_slots[rows]), near], dim=1)
            contexts.append(_attend(query[rows], key_value, self.image_masks[kind]))
        if self.right_mask is not None:
            rows = self.rows.right
            extent = self.right_mask.shape[-1] - left.shape[1]
            own = body[:, :extent].index_select(0, slots[rows])
            key_value = torch.cat([left.index_select(0, left_slots[rows]), own], dim=1)
            contexts.append(_attend(query[rows], key_value, self.right_mask))
        context = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
        return context.reshape(fused.shape[0], -1)
