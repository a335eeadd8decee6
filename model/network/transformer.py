"""The RuDOLPH network: embeddings, sandwich-LayerNorm blocks with sparse attention, head slices.

The reference implementation: training uses it, and every backend is tested against it. Whole sequences,
prefill and decode steps share one block and differ only in the keys they read. Parameter names are those of
the official checkpoints; masks and tables are derived from the config. No dropout: this is inference.
"""

from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import PAD_ID, ModelConfig
from model.network.attention import CacheSlots, DecodeStep, StepSequences, attend_positions
from model.network.blocks import LAYER_NORM_EPSILON, Attend, SparseStack
from model.network.cache import KeyValueCache
from model.network.layout import StepLayout
from model.network.masks import LayerKind, full_mask, key_table, layer_kinds


class Transformer(nn.Module):
    """RuDOLPH. A sequence is left text, image and right text; a left-text id 0 is the pad of its position."""

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
        # Explicitly on the CPU, so that a network built on the meta device still has its real tables.
        for kind in LayerKind:
            table = key_table(config, kind)
            self.register_buffer(f"{kind}_mask", full_mask(config, kind), persistent=False)
            self.register_buffer(f"{kind}_cells", table.cells, persistent=False)
            self.register_buffer(f"{kind}_valid", table.valid, persistent=False)

    # Whole sequences ------------------------------------------------------------------------------------

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the logits of every position over the whole vocabulary, without a cache.

        input_ids: shape = (sequences, length), length ≤ total. Returns shape = (sequences, length,
        vocab_size).
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
        """Return hidden states of positions [start, start + length), before the final LayerNorm.

        input_ids: shape = (sequences, length). With `start` > 0 the positions before are read from the cache,
        at left_slots and slots: shape = (sequences,), or (1,) where all sequences read the same slot. Nothing
        is written. Returns shape = (sequences, length, hidden).
        """
        past = None
        if start:
            if cache is None or left_slots is None or slots is None:
                raise ValueError("Positions before `start` need a cache and its slots. Give both.")
            count = input_ids.shape[0]
            past = CacheSlots(cache, left_slots.expand(count), slots.expand(count))
        return self._run_positions(input_ids, start, past, write=False)

    @torch.inference_mode()
    def prefill(
        self, input_ids: Tensor, cache: KeyValueCache, left_slots: Tensor, slots: Tensor, *, start: int = 0
    ) -> Tensor:
        """Do what `encode` does, and write the keys and values of the positions into the cache.

        Positions of the left text go to left_slots, the others to slots; both of shape (sequences,). A pool
        that no position belongs to may get any slot.
        """
        return self._run_positions(input_ids, start, CacheSlots(cache, left_slots, slots), write=True)

    def _run_positions(
        self, input_ids: Tensor, start: int, past: CacheSlots | None, *, write: bool
    ) -> Tensor:
        config = self.config
        count, length = input_ids.shape
        end = start + length
        x = self.embed_positions(input_ids, start)
        masks = {kind: self.get_buffer(f"{kind}_mask")[start:end, :end] for kind in LayerKind}

        def attend(layer: int, qkv: Tensor) -> Tensor:
            fused = qkv.view(count, length, 3, config.num_heads, config.head_size)
            context = attend_positions(fused, masks[self.kinds[layer]], past, layer, start, write=write)
            return context.view(count, length, -1)

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
        layout: StepLayout,
    ) -> Tensor:
        """Run one token per sequence; return hidden states of shape (sequences, hidden).

        Reads earlier keys sparsely and writes its own. input_ids, positions (absolute), left_slots, slots:
        int64, shape = (sequences,), in the order of `layout`.
        """
        config = self.config
        sequences = StepSequences(layout, positions, left_slots, slots)
        step = DecodeStep.plan(cache, {kind: self.key_table(kind) for kind in set(self.kinds)}, sequences)

        def attend(layer: int, qkv: Tensor) -> Tensor:
            fused = qkv.view(-1, 3, config.num_heads, config.head_size)
            return step.attend(fused, cache, layer, self.kinds[layer])

        return self._run_blocks(self.embed_tokens(input_ids, positions, layout), attend)

    # Head -----------------------------------------------------------------------------------------------

    def text_logits(self, hidden: Tensor, width: int | None = None) -> Tensor:
        """Return logits over the first `width` text ids (None: all) from states of shape (…, hidden)."""
        return self._head(hidden, 0, self.config.text_vocab_size if width is None else width)

    def image_logits(self, hidden: Tensor, width: int | None = None) -> Tensor:
        """Return logits over the first `width` image codes (None: all) from states of shape (…, hidden)."""
        start = self.config.text_vocab_size
        return self._head(hidden, start, self.config.image_vocab_size if width is None else width)

    def _head(self, hidden: Tensor, start: int, width: int) -> Tensor:
        columns = slice(start, start + width)
        linear = cast(nn.Linear, self.to_logits[1])
        # Hidden states of prefill and decode carry no gradients; those of encode may.
        with torch.inference_mode() if hidden.is_inference() else nullcontext():
            normed = self.to_logits[0](self.transformer.final_layernorm(hidden))
            return functional.linear(normed, linear.weight[columns], linear.bias[columns])

    # Parts ----------------------------------------------------------------------------------------------

    @property
    def hidden_dtype(self) -> torch.dtype:
        """Number format of hidden states."""
        return self.text_embeddings.weight.dtype

    def key_table(self, kind: LayerKind) -> tuple[Tensor, Tensor]:
        """Return the cells and the valid flags of `KeyTable`, on the device of the weights."""
        return self.get_buffer(f"{kind}_cells"), self.get_buffer(f"{kind}_valid")

    def _run_blocks(self, x: Tensor, attend: Attend) -> Tensor:
        for layer, block in enumerate(self.transformer.layers):
            x = block(x, layer, attend)
        return x

    def embed_positions(self, input_ids: Tensor, start: int) -> Tensor:
        """Return embeddings of positions [start, start + length), shape = (sequences, length, hidden)."""
        config = self.config
        length = input_ids.shape[1]
        end = start + length
        if length == 0 or end > config.total_length:
            raise ValueError(f"Positions [{start}, {end}) do not fit {config.total_length}.")
        positions = torch.arange(start, end, device=input_ids.device)
        image_at = min(max(config.image_start - start, 0), length)
        right_at = min(max(config.right_start - start, 0), length)
        parts = [
            self._embed_left(input_ids[:, :image_at], positions[:image_at]),
            self._embed_image(input_ids[:, image_at:right_at], positions[image_at:right_at]),
            self._embed_right(input_ids[:, right_at:], positions[right_at:]),
        ]
        parts = [part for part in parts if part.shape[1]]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def embed_tokens(self, input_ids: Tensor, positions: Tensor, layout: StepLayout) -> Tensor:
        """Return embeddings of one token per sequence, shape = (sequences, hidden)."""
        sizes = [layout.num_left, layout.num_image, layout.num_right]
        embed = (self._embed_left, self._embed_image, self._embed_right)
        parts = [
            function(ids, own)
            for function, ids, own in zip(embed, input_ids.split(sizes), positions.split(sizes), strict=True)
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
    # With `_weight` nothing is initialized: on the meta device that would import half of torch's compiler.
    return nn.Embedding(num_rows, hidden_size, _weight=torch.empty(num_rows, hidden_size))
