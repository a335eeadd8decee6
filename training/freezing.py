"""Freezes parts of the transformer for fine-tuning."""

from typing import Literal, get_args

from torch import nn

Part = Literal["embeddings", "attention", "mlp", "norms", "head"]
PARTS: tuple[Part, ...] = get_args(Part)


def part_of(name: str) -> Part:
    """Return the part of a parameter, by its official name."""
    if "layernorm" in name or name.startswith("to_logits.0."):
        return "norms"
    if "embeddings" in name:
        return "embeddings"
    if ".attention." in name:
        return "attention"
    if ".mlp." in name:
        return "mlp"
    if name.startswith("to_logits.1."):
        return "head"
    raise ValueError(f"The parameter {name} belongs to no known part.")


def freeze(network: nn.Module, parts: frozenset[Part]) -> None:
    """Freeze the parameters of these parts; train all others."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(part_of(name) not in parts)
