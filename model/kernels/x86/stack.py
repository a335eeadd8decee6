"""All layers of the network in one call, for decode steps and for whole prompts.

Knows the layers as addresses; embeddings and heads are the transformer's. The measure is what the transformer
does without. A token's numbers do not depend on those beside it, so that a row is the same alone, in a batch
and in a prompt.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from model.config import ModelConfig
from model.kernels.grouped_rows import GroupedRows
from model.kernels.x86 import is_available
from model.kernels.x86.linear import LANES, PanelLinear
from model.kv_cache import KeyValueCache
from model.masks import KeyTable

if TYPE_CHECKING:
    from model.blocks import Block
    from model.kernels.attention import CachedRows

MAX_HEAD_SIZE = 128
"""`MAX_HEAD_SIZE` of attention.h."""
NUM_ADDRESSES = 32
"""Fields of `LayerAddresses` in kernels.h, of which the last two are the cache's."""
END_OF_CELLS = -1


def can_run(config: ModelConfig, weight: Tensor) -> bool:
    """Whether this machine can run such a network so; `weight`: any of its weights."""
    fits = config.hidden_size % LANES == 0 and config.head_size <= MAX_HEAD_SIZE
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and fits and is_available()


class KernelStack:
    """The layers of one transformer, with panel linears and float32 norms, which must stay what they are."""

    def __init__(self, config: ModelConfig, blocks: Sequence["Block"], tables: Sequence[KeyTable]) -> None:
        self._shape = (
            config.num_layers,
            config.hidden_size,
            config.num_heads,
            config.left_text_length,
            config.image_length,
            config.image_length + config.right_text_length,
        )
        cells = {id(table): _ended(table) for table in tables}
        # What the addresses point to lives as long as they do.
        self._kept = (tuple(blocks), cells)
        self._addresses = torch.zeros(len(blocks), NUM_ADDRESSES, dtype=torch.int64)
        for layer, (block, table) in enumerate(zip(blocks, tables, strict=True)):
            own = cells[id(table)]
            addresses = [*_addresses(block), own.data_ptr(), own.shape[1]]
            self._addresses[layer, :-2] = torch.tensor(addresses)
        self._cache: ReferenceType[KeyValueCache] | None = None
        self._scratch = torch.empty(0, dtype=torch.uint8)

    def step(self, x: Tensor, rows: GroupedRows, cache: KeyValueCache) -> Tensor:
        """One token a row; keys and values go into the cache, which holds bfloat16.

        x: embeddings, shape = (rows, hidden). Returns hidden states behind the last layer, float32, of that
        shape. Raises IndexError for positions and slots that the cache does not have.
        """
        return self._run(x, cache, rows.positions, (rows.left_slots, rows.slots, rows.picture_slots))

    def rows(self, x: Tensor, past: "CachedRows | None", start: int, *, write: bool) -> Tensor:
        """Rows of positions [start, start + length), which see one another and those before, in the cache.

        x: embeddings, shape = (rows, length, hidden). With `write` new keys and values go into the cache.
        Returns hidden states behind the last layer, float32, of that shape. Raises as `step`.
        """
        num_rows, length, _ = x.shape
        none = torch.zeros(num_rows, dtype=torch.int64)
        left_slots, slots = (none, none) if past is None else (past.left_slots, past.slots)
        cache = None if past is None else past.cache
        positions = torch.arange(start, start + length).repeat(num_rows)
        by_token = [each.repeat_interleave(length) for each in (left_slots, slots, slots)]
        unseen = (0, 0) if write else (start, length)
        return self._run(x.flatten(0, 1), cache, positions, by_token, unseen).view(x.shape)

    def _use(self, cache: KeyValueCache) -> None:
        if self._cache is not None and self._cache() is cache:
            return
        if cache.dtype != torch.bfloat16:
            raise ValueError(f"the cache must hold bfloat16, not {cache.dtype}")
        pools = zip(cache.left, cache.body, strict=True)
        self._addresses[:, -2:] = torch.tensor([[left.data_ptr(), body.data_ptr()] for left, body in pools])
        self._cache = ref(cache)

    def _run(
        self,
        x: Tensor,
        cache: KeyValueCache | None,
        positions: Tensor,
        slots: Sequence[Tensor],
        unseen: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """`unseen`: start and length of sequences that leave no trace in the cache; (0, 0): all go there."""
        from model.kernels.x86 import _kernels

        if cache is not None:
            self._use(cache)
        num_left_slots, num_slots = (1, 1) if cache is None else (cache.num_left_slots, cache.num_slots)
        hidden = x.to(torch.float32, copy=True).contiguous()
        positions, left, body, pictures = (each.contiguous() for each in (positions, *slots))
        threads = torch.get_num_threads()
        needed = _kernels.scratch_bytes(self._shape, len(x), threads)
        if needed > len(self._scratch):
            self._scratch = torch.empty(needed, dtype=torch.uint8)
        tokens = (len(x), unseen[0], unseen[1], num_left_slots, num_slots)
        _kernels.run(
            self._shape, self._addresses.data_ptr(), tokens, positions.data_ptr(), left.data_ptr(),
            body.data_ptr(), pictures.data_ptr(), hidden.data_ptr(), self._scratch.data_ptr(), threads,
        )  # fmt: skip
        return hidden


def _ended(table: KeyTable) -> Tensor:
    """The cells that count, and an end where the filling begins; int64, shape = (image_length, keys)."""
    return table.cells.masked_fill(~table.valid, END_OF_CELLS).contiguous()


def _addresses(block: "Block") -> list[int]:
    norms = (
        block.input_layernorm,
        block.before_first_addition_layernorm,
        block.post_attention_layernorm,
        block.before_second_addition_layernorm,
    )
    attention, mlp = block.attention, block.mlp
    linears = (attention.query_key_value, attention.dense, mlp.dense_h_to_4h, mlp.dense_4h_to_h)
    addresses = [tensor.data_ptr() for norm in norms for tensor in (norm.weight, norm.bias)]
    for linear in linears:
        addresses += cast(PanelLinear, linear).addresses
    return addresses
