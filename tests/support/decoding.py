"""Decode steps of sequences in any order, for tests: networks take them ordered by segment."""

from typing import Any

import torch
from torch import Tensor

from model.network.cache import KeyValueCache
from model.network.layout import StepLayout


def decode(
    network: Any,
    input_ids: Tensor,
    positions: Tensor,
    cache: KeyValueCache,
    left_slots: Tensor,
    slots: Tensor,
    **more: Tensor,
) -> Tensor:
    """Run one token a sequence through a network, in any order of segments; shape = (sequences, hidden)."""
    order = positions.argsort(stable=True)
    layout = StepLayout.of(network.config, positions[order].tolist())
    ordered = (input_ids[order], positions[order], cache, left_slots[order], slots[order])
    more = {name: values[order] for name, values in more.items()}
    hidden = network.decode(*ordered, layout=layout, **more)
    return torch.empty_like(hidden).index_copy_(0, order, hidden)
