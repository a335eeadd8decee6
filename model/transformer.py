"""The RuDOLPH network: embeddings, sandwich-LayerNorm blocks with sparse attention, head slices.

Knows tensors, not tasks. Every path (whole sequences, prefill, single decode steps) shares one block, and
differs only in which keys it reads. Parameter names are those of the official checkpoints; masks and tables
are derived from the config. No dropout: this is inference.
"""

from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.blocks import LAYER_NORM_EPSILON, Attend, SparseStack
from model.config import PAD_ID, ModelConfig
from model.kernels.attention import CachedRows, DecodeStep, attend_rows
from model.kernels.cpu_attention import CpuStep
from model.kernels.grouped_rows import GroupedRows
from model.kv_cache import KeyValueCache
from model.layout import RowGroups, segment_of
from model.masks import LayerKind, full_mask, key_table, layer_kinds
from model.packing import Packed, pack


class Transformer(nn.Module):
    """RuDOLPH. A row holds left-text, image and right-text ids; a left-text id 0 is its position's pad."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.text_embeddings = _table(config.text_vocab_size, hidden)
        self.image_embeddings = _table(config.image_vocab_size, hidden)
        # One row more than positions, as in the official files; the last row is never read.
        self.l_text_pos_embeddings = _table(config.left_text_length + 1, hidden)
        self.r_text_pos_embeddings = _table(config.right_text_length + 1, hidden)
        self.image_row_embeddings = _table(config.image_width, hidden)
        self.image_col_embeddings = _table(config.image_width, hidden)
        self.to_logits = nn.Sequential(
            nn.LayerNorm(hidden, eps=LAYER_NORM_EPSILON), nn.Linear(hidden, config.vocab_size)
        )
        self.transformer = SparseStack(config)
        self.kinds = layer_kinds(config)
        self._packed: Packed | None = None
        # Explicitly on the CPU, so that a network built on the meta device still has its real tables.
        for kind in LayerKind:
            table = key_table(config, kind)
            self.register_buffer(f"{kind}_mask", full_mask(config, kind), persistent=False)
            self.register_buffer(f"{kind}_cells", table.cells, persistent=False)
            self.register_buffer(f"{kind}_valid", table.valid, persistent=False)

    # Whole sequences ------------------------------------------------------------------------------------

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits of every position over the whole vocabulary, without a cache.

        input_ids: shape = (batch, length), length ≤ total; returns shape = (batch, length, vocab_size).
        """
        hidden = self.encode(input_ids)
        return torch.cat([self.text_logits(hidden), self.image_logits(hidden)], dim=-1)

    def encode(
        self,
        input_ids: Tensor,
        *,
        start: int = 0,
        cache: KeyValueCache | None = None,
        left_slots: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of positions [start, start + length), before the final LayerNorm; writes nothing.

        input_ids: shape = (rows, length). With `start` > 0 the positions before are read from the cache, at
        left_slots and slots, shape = (rows,) or, where all rows read the same, (1,). Returns shape = (rows,
        length, hidden).
        """
        past = None
        if start:
            if cache is None or left_slots is None or slots is None:
                raise ValueError("positions before `start` can only be read from a cache and its slots")
            rows = input_ids.shape[0]
            past = CachedRows(cache, left_slots.expand(rows), slots.expand(rows))
        return self._run_rows(input_ids, start, past, write=False)

    @torch.inference_mode()
    def prefill(
        self, input_ids: Tensor, cache: KeyValueCache, left_slots: Tensor, slots: Tensor, *, start: int = 0
    ) -> Tensor:
        """Like `encode`, and writes keys and values of the computed positions into the cache.

        Positions of the left text go to left_slots, the others to slots; both of shape (rows,). Rows whose
        positions all lie in one of the two pools may give any slot for the other.
        """
        return self._run_rows(input_ids, start, CachedRows(cache, left_slots, slots), write=True)

    def _run_rows(self, input_ids: Tensor, start: int, past: CachedRows | None, *, write: bool) -> Tensor:
        rows, length = input_ids.shape
        end = start + length
        if length == 0 or end > self.config.total_length:
            raise ValueError(f"positions [{start}, {end}) do not fit {self.config.total_length}")
        x = self._embed_rows(input_ids, start)
        if self._packed is not None and self._packed.stack is not None:
            return self._packed.stack.rows(x, past, start, write=write)
        masks = {kind: self._buffer(kind, "mask")[start:end, :end] for kind in LayerKind}

        def attend(layer: int, qkv: Tensor) -> Tensor:
            fused = qkv.view(rows, length, 3, self.config.num_heads, self.config.head_size)
            return attend_rows(fused, masks[self.kinds[layer]], past, layer, start, write=write).view(
                rows, length, -1
            )

        return self._run_blocks(x, attend)

    # Single tokens --------------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(
        self,
        input_ids: Tensor,
        positions: Tensor,
        cache: KeyValueCache,
        left_slots: Tensor,
        slots: Tensor,
        *,
        groups: RowGroups | None = None,
        picture_slots: Tensor | None = None,
    ) -> Tensor:
        """One token a row: reads earlier keys sparsely, writes its own; returns hidden states (rows, hidden).

        input_ids, positions (absolute), left_slots, slots: int64, shape = (rows,). With `groups` the rows
        must be ordered as it says, and nothing is asked of the device; without, rows may come in any order
        and the positions are read back (a synchronisation on CUDA). `picture_slots`, shape = (rows,), names
        for right-text rows a slot with the same picture as their own: what several read is read once on a
        CPU.
        """
        picture_slots = slots if picture_slots is None else picture_slots
        if groups is None:
            order = self._segment_order(positions)
            if order is not None:
                tensors = (input_ids, positions, left_slots, slots, picture_slots)
                ids, places, lefts, bodies, pictures = (tensor[order] for tensor in tensors)
                hidden = self.decode(ids, places, cache, lefts, bodies, picture_slots=pictures)
                return torch.empty_like(hidden).index_copy_(0, order, hidden)
            groups = RowGroups.of(self.config, positions.tolist())
        config = self.config
        rows = GroupedRows(groups, positions, left_slots, slots, picture_slots)
        x = self._embed_step(input_ids, positions, groups)
        if self._packed is not None and self._packed.stack is not None:
            return self._packed.stack.step(x, rows, cache)
        plan = CpuStep.plan if positions.device.type == "cpu" else DecodeStep.plan
        step = plan(cache, {kind: self.key_table(kind) for kind in set(self.kinds)}, rows)

        def attend(layer: int, qkv: Tensor) -> Tensor:
            fused = qkv.view(-1, 3, config.num_heads, config.head_size)
            return step.attend(fused, cache, layer, self.kinds[layer])

        return self._run_blocks(x, attend)

    def _segment_order(self, positions: Tensor) -> Tensor | None:
        """Permutation that orders rows by segment; None when they already are."""
        segments = [segment_of(self.config, position) for position in positions.tolist()]
        if segments == sorted(segments):
            return None
        order = sorted(range(len(segments)), key=lambda row: segments[row])
        return torch.tensor(order, device=positions.device)

    # Head -----------------------------------------------------------------------------------------------

    def text_logits(self, hidden: Tensor, width: int | None = None) -> Tensor:
        """Logits over the first `width` text ids (None: all), from hidden states of shape (…, hidden)."""
        return self._head(hidden, 0, self.config.text_vocab_size if width is None else width)

    def image_logits(self, hidden: Tensor, width: int | None = None) -> Tensor:
        """Logits over the first `width` image codes (None: all), from hidden states of shape (…, hidden)."""
        start = self.config.text_vocab_size
        return self._head(hidden, start, self.config.image_vocab_size if width is None else width)

    def _head(self, hidden: Tensor, start: int, width: int) -> Tensor:
        # What prefill and decode return can carry no gradients; what encode returns may.
        with torch.inference_mode() if hidden.is_inference() else nullcontext():
            return self._head_columns(hidden, start, width)

    def _head_columns(self, hidden: Tensor, start: int, width: int) -> Tensor:
        normed = self.to_logits[0](self.transformer.final_layernorm(hidden))
        if self._packed is not None:
            return (self._packed.image_head if start else self._packed.text_head)(normed)[..., :width]
        linear = cast(nn.Linear, self.to_logits[1])
        columns = slice(start, start + width)
        return functional.linear(normed, linear.weight[columns], linear.bias[columns])

    # Serving on a CPU -----------------------------------------------------------------------------------

    @torch.inference_mode()
    def pack(self, *, int8: bool = False, as_one: bool = True) -> None:
        """Re-lay the weights for products on this CPU; elsewhere, and the second time, nothing happens.

        Afterwards the network serves only: it has no state dict, no gradients and cannot change its device or
        dtype. In bfloat16 the residual stream and the LayerNorms are float32 from here on. With `int8` the
        layers' weights become whole numbers (the heads' do not); RuntimeError where there is no way to
        multiply them. Without `as_one` all layers run by torch's operations, as they do on processors that
        have no kernel for them together.
        """
        if self._packed is None:
            self._packed = pack(self, int8=int8, as_one=as_one)

    @property
    def hidden_dtype(self) -> torch.dtype:
        """Number format of the hidden states that `prefill`, `decode` and `encode` return."""
        if self._packed is not None:
            return torch.float32
        return self.text_embeddings.weight.dtype

    # Parts ----------------------------------------------------------------------------------------------

    def key_table(self, kind: LayerKind) -> tuple[Tensor, Tensor]:
        """Cells and which of them count, as in `KeyTable`, on the device of the weights."""
        return self._buffer(kind, "cells"), self._buffer(kind, "valid")

    def _buffer(self, kind: LayerKind, name: str) -> Tensor:
        return self.get_buffer(f"{kind}_{name}")

    def _run_blocks(self, x: Tensor, attend: Attend) -> Tensor:
        if self._packed is not None:
            x = x.float()
        for layer, block in enumerate(self.transformer.layers):
            x = block(x, layer, attend)
        return x

    def _embed_rows(self, input_ids: Tensor, start: int) -> Tensor:
        """Embeddings of positions [start, start + length), shape = (rows, length, hidden)."""
        config = self.config
        end = start + input_ids.shape[1]
        positions = torch.arange(start, end, device=input_ids.device)
        image_at = min(max(config.image_start - start, 0), end - start)
        right_at = min(max(config.right_start - start, 0), end - start)
        parts = [
            self._embed_left(input_ids[:, :image_at], positions[:image_at]),
            self._embed_image(input_ids[:, image_at:right_at], positions[image_at:right_at]),
            self._embed_right(input_ids[:, right_at:], positions[right_at:]),
        ]
        parts = [part for part in parts if part.shape[1]]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _embed_step(self, input_ids: Tensor, positions: Tensor, groups: RowGroups) -> Tensor:
        """Embeddings of one token a row, shape = (rows, hidden)."""
        sizes = [groups.num_left, groups.num_image, groups.num_right]
        embed = (self._embed_left, self._embed_image, self._embed_right)
        parts = [
            function(ids, places)
            for function, ids, places in zip(
                embed, input_ids.split(sizes), positions.split(sizes), strict=True
            )
            if ids.shape[0]
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _embed_left(self, ids: Tensor, positions: Tensor) -> Tensor:
        pads = positions + (self.config.text_vocab_size - self.config.left_text_length)
        return self.text_embeddings(torch.where(ids == PAD_ID, pads, ids)) + self.l_text_pos_embeddings(
            positions
        )

    def _embed_image(self, ids: Tensor, positions: Tensor) -> Tensor:
        cells = positions - self.config.image_start
        width = self.config.image_width
        rows = self.image_row_embeddings(torch.div(cells, width, rounding_mode="floor"))
        return self.image_embeddings(ids) + (rows + self.image_col_embeddings(cells % width))

    def _embed_right(self, ids: Tensor, positions: Tensor) -> Tensor:
        return self.text_embeddings(ids) + self.r_text_pos_embeddings(positions - self.config.right_start)


def _table(num_rows: int, hidden_size: int) -> nn.Embedding:
    # Given weights are not initialised: on the meta device that would import half of torch's compiler.
    return nn.Embedding(num_rows, hidden_size, _weight=torch.empty(num_rows, hidden_size))
