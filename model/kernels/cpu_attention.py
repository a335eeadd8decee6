"""Attention over cached keys on a CPU, where reading the cache is what takes time.

Knows the cache and key positions; no weights. Left text is read in place and once for all rows that share
it, and so is the picture by right-text rows; image rows gather the few cells that count for them. Each part
is a softmax of its own; two parts are joined by the logs of their sums, which gives the softmax over both. No
shape that a kernel sees of a row depends on the other rows, so that batch mates bring hardly any other
rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from model.kernels.grouped_rows import GroupedRows, StepWrites, gather
from model.kv_cache import KeyValueCache
from model.masks import LayerKind

_FLASH: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

MANY_QUERIES = 16
"""From here on the half-precision kernel is as fast as converting keys; one query takes ten times as long."""

Part = tuple[Tensor, Tensor]
"""Context over some keys, (…, heads, head_size), and the log of the sum of their weights, (…, heads)."""


def _attend(query: Tensor, key_value: Tensor, mask: Tensor | None = None) -> Part:
    """query: shape = (batch, queries, heads, head_size); key_value: (batch, keys, 2, heads, head_size).

    mask: added to the scores, broadcastable to (batch, heads, queries, keys), in the dtype that is computed
    in: float32 for few queries, the query's for many.
    """
    if query.shape[1] < MANY_QUERIES:
        query, key_value = query.float(), key_value.float()
    keys, values = key_value.unbind(2)
    context, log_sum = _FLASH(
        query.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask
    )
    return context.transpose(1, 2), log_sum.transpose(1, 2)


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask as numbers to add to scores."""
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, float("-inf"))


def _join(one: Part, other: Part) -> Part:
    """The softmax over the keys of both parts, as a part."""
    share = torch.sigmoid(one[1] - other[1])[..., None]
    joined = torch.lerp(other[0].float(), one[0].float(), share)
    return joined, torch.logaddexp(one[1], other[1])


@dataclass(frozen=True)
class Run:
    """Neighbouring rows [start, end) that read the same slot."""

    slot: int
    start: int
    end: int


def runs_of(slots: Sequence[int]) -> list[Run]:
    """Longest runs of equal slots, in order."""
    runs: list[Run] = []
    for slot, members in groupby(slots):
        start = runs[-1].end if runs else 0
        runs.append(Run(slot, start, start + sum(1 for _ in members)))
    return runs


def _attend_runs(query: Tensor, pool: Tensor, runs: Sequence[Run], length: int) -> Part:
    """Each row over the first `length` keys of its run's slot, which are read in place.

    query: shape = (rows, queries, heads, head_size). Returns parts of (rows, queries, heads, …).
    """
    parts: list[Part] = []
    for run in runs:
        own = query[run.start : run.end]
        keys = pool[run.slot, :length][None]
        if own.shape[1] < MANY_QUERIES:
            keys = keys.float()
        parts.append(_attend(own, keys.expand(len(own), *keys.shape[1:])))
    return _together(parts)


def attend_suffix(fused: Tensor, mask: Tensor, pools: Sequence[tuple[Tensor, Sequence[Run], int]]) -> Tensor:
    """Rows of many positions over themselves and over prefixes that every position sees whole.

    fused: shape = (rows, length, 3, heads, head_size); mask: bool, shape = (length, length), what the
    positions see of one another; pools: (pool, which slot each row reads, keys). Returns the shape of the
    queries.
    """
    query = fused[:, :, 0]
    few = query.shape[1] < MANY_QUERIES
    part = _attend(query, fused[:, :, 1:], _added(mask, torch.float32 if few else query.dtype))
    for pool, runs, length in pools:
        part = _join(_attend_runs(query, pool, runs, length), part)
    return part[0].to(fused.dtype).contiguous()


@dataclass(frozen=True)
class CpuStep:
    """What one decode step reads and writes; computed once, used by all layers.

    Rows that are not of left text are the body rows.
    """

    writes: StepWrites
    left_rows: list[tuple[int, int]]
    """(left slot, keys) of each left-text row."""
    order: Tensor | None
    """Permutation that brings body rows of one left slot together, and back; None: they stand so."""
    back: Tensor | None
    runs: list[Run]
    """Body rows in that order, by left slot."""
    cells: dict[LayerKind, Tensor]
    """Flat places in the body pool that image rows read; shape = (image rows, keys)."""
    cell_masks: dict[LayerKind, Tensor]
    right_rows: list[tuple[int, int]]
    """(slot, body keys) of each right-text row."""
    picture_runs: list[Run]
    """Right-text rows by the slot from which they read the picture."""
    num_cells: int
    num_image: int

    @classmethod
    def plan(
        cls, cache: KeyValueCache, tables: dict[LayerKind, tuple[Tensor, Tensor]], rows: GroupedRows
    ) -> "CpuStep":
        left_length, num_left = cache.config.left_text_length, rows.groups.num_left
        left_slots, slots, positions, right = rows.left_slots, rows.slots, rows.positions, rows.right
        shared = left_slots[num_left:].tolist()
        order = sorted(range(len(shared)), key=shared.__getitem__)
        is_ordered = order == list(range(len(shared)))
        permutation = None if is_ordered else torch.tensor(order)
        cells: dict[LayerKind, Tensor] = {}
        masks: dict[LayerKind, Tensor] = {}
        if rows.groups.num_image:
            image_cells = rows.image_cells(cache)
            for kind, (table, valid) in tables.items():
                cells[kind] = rows.image_places(cache, table)
                masks[kind] = _added(valid[image_cells, None, None], torch.float32)
        return cls(
            writes=StepWrites.of(cache, rows),
            left_rows=list(
                zip(left_slots[:num_left].tolist(), (positions[:num_left] + 1).tolist(), strict=True)
            ),
            order=permutation,
            back=None if permutation is None else permutation.argsort(),
            runs=runs_of([shared[row] for row in order]),
            cells=cells,
            cell_masks=masks,
            right_rows=list(
                zip(slots[right].tolist(), (positions[right] + 1 - left_length).tolist(), strict=True)
            ),
            picture_runs=runs_of(rows.picture_slots[right].tolist()),
            num_cells=cache.config.image_length,
            num_image=rows.groups.num_image,
        )

    def attend(self, fused: Tensor, cache: KeyValueCache, layer: int, kind: LayerKind) -> Tensor:
        """Attention of one token a row; stores its keys and values first.

        fused: shape = (rows, 3, heads, head_size). Returns shape = (rows, hidden).
        """
        left, body = cache.left[layer], cache.body[layer]
        query, num_left = fused[:, None, 0], len(self.left_rows)
        self.writes.store(fused[:, 1:], left, body)
        contexts: list[Tensor] = []
        for row, (slot, length) in enumerate(self.left_rows):
            contexts.append(_attend(query[row : row + 1], left[slot, :length][None])[0])
        if num_left < fused.shape[0]:
            own = self._attend_body(query[num_left:], body, kind)
            contexts.append(_join(self._attend_left(query[num_left:], left), own)[0])
        context = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
        return context.reshape(fused.shape[0], -1).to(fused.dtype)

    def _attend_left(self, query: Tensor, left: Tensor) -> Part:
        """Body rows over their left texts."""
        if self.order is None or self.back is None:
            return _attend_runs(query, left, self.runs, left.shape[1])
        context, log_sum = _attend_runs(query[self.order], left, self.runs, left.shape[1])
        return context[self.back], log_sum[self.back]

    def _attend_body(self, query: Tensor, body: Tensor, kind: LayerKind) -> Part:
        """Body rows over what they see of their own slots."""
        parts: list[Part] = []
        if self.num_image:
            near = gather(body, self.cells[kind])
            parts.append(_attend(query[: self.num_image], near, self.cell_masks[kind]))
        if self.right_rows:
            right = query[self.num_image :]
            picture = _attend_runs(right, body, self.picture_runs, self.num_cells)
            texts = [
                _attend(right[row : row + 1], body[slot, self.num_cells : length][None])
                for row, (slot, length) in enumerate(self.right_rows)
            ]
            parts.append(_join(picture, _together(texts)))
        return _together(parts)


def _together(parts: Sequence[Part]) -> Part:
    """Parts of different rows, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
