"""Attention over cached keys in plain PyTorch, for rows of many positions and for single decode steps.

Knows the cache and key positions; no weights. Sums of the softmax are float32 inside the SDPA kernels,
whatever the dtype.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.kernels.cpu_attention import attend_suffix, runs_of
from model.kv_cache import KeyValueCache
from model.layout import RowGroups
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

    `writes_left`, `writes_body`: flat places (slot · length + position) of the new keys of left-text rows and
    of the others; `image_keys[kind]`: flat body places that image rows read, shape = (image rows, max_keys),
    and `image_masks[kind]` which of them and of the left text count, shape = (image rows, 1, 1, keys).
    """

    groups: RowGroups
    left_slots: Tensor
    slots: Tensor
    writes_left: Tensor
    writes_body: Tensor
    image_keys: dict[LayerKind, Tensor]
    image_masks: dict[LayerKind, Tensor]
    left_mask: Tensor | None
    right_mask: Tensor | None

    @classmethod
    def plan(
        cls,
        cache: KeyValueCache,
        tables: dict[LayerKind, tuple[Tensor, Tensor]],
        groups: RowGroups,
        *,
        positions: Tensor,
        left_slots: Tensor,
        slots: Tensor,
    ) -> "DecodeStep":
        config, body_length = cache.config, cache.body_length
        left_length = config.left_text_length
        num_left, num_image = groups.num_left, groups.num_image
        device = positions.device
        body_places = positions[num_left:] - left_length
        image_cells = body_places[:num_image]
        image_slots = slots[num_left : num_left + num_image, None]
        keys: dict[LayerKind, Tensor] = {}
        masks: dict[LayerKind, Tensor] = {}
        if num_image:
            for kind, (cells, valid) in tables.items():
                keys[kind] = cells[image_cells] + image_slots * body_length
                all_left = torch.ones(num_image, left_length, dtype=torch.bool, device=device)
                masks[kind] = torch.cat([all_left, valid[image_cells]], dim=1)[:, None, None]

        def causal(own: Tensor, extent: int) -> Tensor:
            return (torch.arange(extent, device=device) <= own[:, None])[:, None, None]

        right_positions = positions[num_left + num_image :]
        return cls(
            groups=groups,
            left_slots=left_slots,
            slots=slots,
            writes_left=left_slots[:num_left] * left_length + positions[:num_left],
            writes_body=slots[num_left:] * body_length + body_places,
            image_keys=keys,
            image_masks=masks,
            left_mask=causal(positions[:num_left], groups.left_extent) if num_left else None,
            right_mask=causal(right_positions, config.right_start + groups.right_extent)
            if groups.num_right
            else None,
        )

    def attend(self, fused: Tensor, cache: KeyValueCache, layer: int, kind: LayerKind) -> Tensor:
        """Attention of one token a row; stores its keys and values first.

        fused: shape = (rows, 3, heads, head_size), rows ordered by segment. Returns shape = (rows, hidden).
        """
        left, body = cache.left[layer], cache.body[layer]
        num_left, num_image = self.groups.num_left, self.groups.num_image
        new, query = fused[:, 1:], fused[:, None, 0]
        flat_body = body.view(-1, *body.shape[2:])
        contexts: list[Tensor] = []
        if num_left < self.groups.num_rows:
            flat_body.index_copy_(0, self.writes_body, new[num_left:])
        if self.left_mask is not None:
            left.view(-1, *left.shape[2:]).index_copy_(0, self.writes_left, new[:num_left])
            own = left[:, : self.left_mask.shape[-1]].index_select(0, self.left_slots[:num_left])
            contexts.append(_attend(query[:num_left], own, self.left_mask))
        if num_image:
            rows = slice(num_left, num_left + num_image)
            places = self.image_keys[kind]
            near = flat_body.index_select(0, places.flatten()).view(*places.shape, *body.shape[2:])
            key_value = torch.cat([left.index_select(0, self.left_slots[rows]), near], dim=1)
            contexts.append(_attend(query[rows], key_value, self.image_masks[kind]))
        if self.right_mask is not None:
            rows = slice(num_left + num_image, None)
            extent = self.right_mask.shape[-1] - left.shape[1]
            own = body[:, :extent].index_select(0, self.slots[rows])
            key_value = torch.cat([left.index_select(0, self.left_slots[rows]), own], dim=1)
            contexts.append(_attend(query[rows], key_value, self.right_mask))
        context = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
        return context.reshape(fused.shape[0], -1)
