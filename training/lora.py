"""Low-rank adapters (LoRA, arXiv 2106.09685) on the matrices of the blocks, by peft."""

from typing import Any

from torch import nn

from model.network.transformer import Transformer
from training.extras import require

MATRICES = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]


def add_adapters(transformer: Transformer, rank: int) -> None:
    """Freeze the network and add adapters of this rank to every matrix of its blocks."""
    peft: Any = require("peft", "lora", "--lora")
    transformer.requires_grad_(False)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=MATRICES)
    peft.inject_adapter_in_model(config, transformer)


def merge_adapters(transformer: Transformer) -> None:
    """Add each adapter to its matrix, and remove it, so that the names are those of a checkpoint again."""
    layers: Any = require("peft.tuners.tuners_utils", "lora", "--lora")
    adapted = [(name, module) for name, module in transformer.named_modules()]
    for name, module in adapted:
        if isinstance(module, layers.BaseTunerLayer):
            tuner: Any = module
            tuner.merge(safe_merge=True)
            parent, _, attribute = name.rpartition(".")
            base: nn.Module = tuner.get_base_layer()
            setattr(transformer.get_submodule(parent), attribute, base)
