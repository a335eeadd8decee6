"""All layers of the network in one call of the kernels, for decode steps and for whole prompts.

Stores the weights of the layers in the layout of the kernels. The result of a token does not depend on the
rest of the batch: a sequence gives the same result alone, in a batch and in a prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from model.backends.x86.linear import PanelLinear
from model.config import ModelConfig
from model.network.attention import CacheSlots
from model.network.blocks import Block
from model.network.cache import KeyValueCache
from model.network.masks import KeyTable

MAX_HEAD_SIZE = 128
"""`MAX_HEAD_SIZE` of attention.h."""
NUM_ADDRESSES = 32
"""Fields of `LayerAddresses` in kernels.h; the last two are the cache's."""
END_OF_CELLS = -1

Norm = tuple[Tensor, Tensor]
"""Weight and bias of a LayerNorm, float32."""


def float_norm(norm: nn.LayerNorm) -> Norm:
    """Return the weight and the bias of a LayerNorm in float32."""
    return norm.weight.detach().float(), norm.bias.detach().float()


@dataclass(frozen=True)
class Layer:
    """The weights of one block: norms and linears in the order of `LayerAddresses`."""

    norms: tuple[Norm, Norm, Norm, Norm]
    linears: tuple[PanelLinear, PanelLinear, PanelLinear, PanelLinear]

    @classmethod
    def of(cls, block: Block, lay_out: Callable[[nn.Linear, bool], PanelLinear]) -> "Layer":
        """Copy the weights of a block. `lay_out` creates a linear; its second argument adds GELU."""
        attention, mlp = block.attention, block.mlp
        return cls(
            norms=(
                float_norm(block.input_layernorm),
                float_norm(block.before_first_addition_layernorm),
                float_norm(block.post_attention_layernorm),
                float_norm(block.before_second_addition_layernorm),
            ),
            linears=(
                lay_out(attention.query_key_value, False),
                lay_out(attention.dense, False),
                lay_out(mlp.dense_h_to_4h, True),
                lay_out(mlp.dense_4h_to_h, False),
            ),
        )

    @property
    def addresses(self) -> list[int]:
        addresses = [tensor.data_ptr() for norm in self.norms for tensor in norm]
        for linear in self.linears:
            addresses += linear.addresses
        return addresses


class FusedLayers:
    """The layers of one network, and the cache that they last read."""

    def __init__(self, config: ModelConfig, layers: Sequence[Layer], tables: Sequence[KeyTable]) -> None:
        """tables: the key table of each layer; layers of one kind share it."""
        self._shape = (
            config.num_layers,
            config.hidden_size,
            config.num_heads,
            config.left_text_length,
            config.image_length,
            config.image_length + config.right_text_length,
        )
        cells = {id(table): _terminated(table) for table in tables}
        # Keeps alive what the addresses point to.
        self._owned = (tuple(layers), cells)
        self._addresses = torch.zeros(len(layers), NUM_ADDRESSES, dtype=torch.int64)
        for index, (layer, table) in enumerate(zip(layers, tables, strict=True)):
            own = cells[id(table)]
            addresses = [*layer.addresses, own.data_ptr(), own.shape[1]]
            self._addresses[index, :-2] = torch.tensor(addresses)
        self._cache: ReferenceType[KeyValueCache] | None = None
        self._scratch = torch.empty(0, dtype=torch.uint8)

    def decode(self, x: Tensor, positions: Tensor, past: CacheSlots, image_slots: Tensor) -> Tensor:
        """Run one token per sequence; its keys and values go into the cache, which holds bfloat16.

        x: embeddings, shape = (sequences, hidden). Returns hidden states after the last layer, float32, of
        that shape. Raises IndexError for positions and slots that the cache does not have.
        """
        return self._run(x, past.cache, positions, (past.left_slots, past.slots, image_slots))

    def run(self, x: Tensor, past: CacheSlots | None, start: int, *, write: bool) -> Tensor:
        """Run positions [start, start + length), which see one another and the cached ones before.

        x: embeddings, shape = (sequences, length, hidden). With `write` new keys and values go into the
        cache. Returns hidden states after the last layer, float32, of that shape. Raises as `decode`.
        """
        count, length, _ = x.shape
        none = torch.zeros(count, dtype=torch.int64)
        left_slots, slots = (none, none) if past is None else (past.left_slots, past.slots)
        cache = None if past is None else past.cache
        positions = torch.arange(start, start + length).repeat(count)
        by_token = [each.repeat_interleave(length) for each in (left_slots, slots, slots)]
        unstored = (0, 0) if write else (start, length)
        return self._run(x.flatten(0, 1), cache, positions, by_token, unstored).view(x.shape)

    def _use(self, cache: KeyValueCache) -> None:
        if self._cache is not None and self._cache() is cache:
            return
        if cache.dtype != torch.bfloat16:
            raise ValueError(f"The cache must have bfloat16 values, not {cache.dtype}.")
        pools = zip(cache.left, cache.body, strict=True)
        self._addresses[:, -2:] = torch.tensor([[left.data_ptr(), body.data_ptr()] for left, body in pools])
        self._cache = ref(cache)

    def _run(
        self,
        x: Tensor,
        cache: KeyValueCache | None,
        positions: Tensor,
        slots: Sequence[Tensor],
        unstored: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """`unstored`: start and length of sequences whose keys are not stored; (0, 0): all keys are."""
        from model.backends.x86 import _kernels

        if cache is not None:
            self._use(cache)
        num_left_slots, num_slots = (1, 1) if cache is None else (cache.num_left_slots, cache.num_slots)
        hidden = x.to(torch.float32, copy=True).contiguous()
        positions, left, body, images = (each.contiguous() for each in (positions, *slots))
        threads = torch.get_num_threads()
        needed = _kernels.scratch_bytes(self._shape, len(x), threads)
        if needed > len(self._scratch):
            self._scratch = torch.empty(needed, dtype=torch.uint8)
        tokens = (len(x), unstored[0], unstored[1], num_left_slots, num_slots)
        _kernels.run(
            self._shape, self._addresses.data_ptr(), tokens, positions.data_ptr(), left.data_ptr(),
            body.data_ptr(), images.data_ptr(), hidden.data_ptr(), self._scratch.data_ptr(), threads,
        )  # fmt: skip
        return hidden


def _terminated(table: KeyTable) -> Tensor:
    """Return the cells that count, then END_OF_CELLS; int64, shape = (image_length, keys)."""
    return table.cells.masked_fill(~table.valid, END_OF_CELLS).contiguous()
