"""A network's weights, laid anew for serving on a CPU, and which kernels then multiply them.

Knows the layers and what this processor can do; runs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from torch import Tensor, nn

from model.kernels.cpu_linear import Int8Linear, PackedLinear, can_pack, can_pack_int8
from model.kernels.x86 import is_available
from model.kernels.x86.linear import Int8PanelLinear, PanelLinear
from model.kernels.x86.stack import KernelStack, can_run
from model.masks import KeyTable, LayerKind

if TYPE_CHECKING:
    from model.blocks import Block
    from model.transformer import Transformer


class _MakeLinear(Protocol):
    def __call__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> nn.Module: ...


@dataclass(frozen=True)
class Packed:
    """What takes the place of the heads, and of all layers where this processor runs them as one."""

    text_head: Callable[[Tensor], Tensor]
    image_head: Callable[[Tensor], Tensor]
    stack: KernelStack | None


def pack(network: "Transformer", *, int8: bool, as_one: bool) -> Packed | None:
    """Replace the linear layers of `network`; None where its dtype or its device has no packed products.

    With `int8` those of the blocks become whole numbers; RuntimeError where there is no way to multiply them.
    Without `as_one` layers stay apart even where they need not.
    """
    head = cast(nn.Linear, network.to_logits[1])
    config, blocks = network.config, [cast("Block", block) for block in network.transformer.layers]
    as_one = as_one and can_run(config, head.weight)
    if not as_one and not can_pack(head):
        return None
    if int8 and not as_one and not can_pack_int8():
        remedy = "use the dtype auto" if is_available() else "turn RUDOLPH_INT8_WEIGHTS off"
        raise RuntimeError(f"torch cannot multiply int8 weights on this processor: {remedy}")
    make_head: _MakeLinear = PanelLinear if as_one else PackedLinear
    make_int8: _MakeLinear = Int8PanelLinear if as_one else Int8Linear
    for block in blocks:
        _pack_block(block, make_int8 if int8 else make_head)
    text = config.text_vocab_size
    text_head = make_head(head.weight[:text], head.bias[:text])
    image_head = make_head(head.weight[text:], head.bias[text:])
    network.to_logits[1] = nn.Identity()
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.float()
    stack = None
    if as_one:
        tables = {kind: KeyTable(*network.key_table(kind)) for kind in LayerKind}
        stack = KernelStack(config, blocks, [tables[kind] for kind in network.kinds])
    return Packed(text_head, image_head, stack)


def _pack_block(block: "Block", make: _MakeLinear) -> None:
    attention, mlp = block.attention, block.mlp
    for owner, name in (
        (attention, "query_key_value"),
        (attention, "dense"),
        (mlp, "dense_h_to_4h"),
        (mlp, "dense_4h_to_h"),
    ):
        linear = cast(nn.Linear, getattr(owner, name))
        owner.add_module(name, make(linear.weight, linear.bias, gelu=name == "dense_h_to_4h"))
    mlp.add_module("gelu", nn.Identity())
