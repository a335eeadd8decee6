"""Perplexities of sequences: one pass over a batch, then the head at the scored positions only.

The same for every backend: it takes a network and a cache. All host values of a batch go to the device in
one transfer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy import typing as npt
from torch import Tensor
from torch.nn.functional import cross_entropy

from model.backends.base import Scores
from model.backends.batches import ScoreBatch, ScoredSequence
from model.backends.host_copy import HostCopy
from model.backends.network import Network
from model.backends.upload import upload
from model.config import PAD_ID, ModelConfig
from model.network.cache import KeyValueCache
from model.tasks import Ids, perplexity, scored_text_width

HEAD_POSITIONS = 1024
"""Positions whose logits exist at the same time; more would only cost memory."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Part:
    """What is scored of one segment; host arrays of one value a scored token."""

    states: Integers
    """Index of the hidden state that predicts the token, in the order of `_hidden`."""
    ids: Integers
    sequences: Integers
    offsets: Integers
    """Place of the token's loss in its sequence."""
    length: int
    """Tokens of the longest sequence."""
    num_shared: int
    """Losses of the first sequence that belong to all."""
    is_image: bool


def score(network: Network, cache: KeyValueCache, batch: ScoreBatch) -> Scores:
    """Compute the perplexities that the batch selects."""
    config, device = network.config, cache.body[0].device
    parts = _parts(config, batch)
    read = [sequence.read_ids()[batch.start :] for sequence in batch.sequences]
    slots = [[batch.left_slot or 0], [batch.slot or 0]]
    columns = [
        array for part in parts if part for array in (part.states, part.ids, part.sequences, part.offsets)
    ]
    moved = upload([_padded(read, batch.length), [batch.shared_right], *slots, *columns], device)
    hidden = _hidden(network, cache, batch, moved[:4])
    moved = moved[4:]
    results: list[HostCopy | None] = []
    for part in parts:
        if part is None:
            results.append(None)
            continue
        own, moved = moved[:4], moved[4:]
        results.append(HostCopy(perplexity(_losses(network, hidden, part, own, len(batch.sequences)))))
    return Scores(*results)


def _parts(config: ModelConfig, batch: ScoreBatch) -> list[_Part | None]:
    """Return what is scored of the left texts, the images and the right texts."""

    def part(
        asked: bool, ids_of: Callable[[ScoredSequence], Ids], first: int, *, is_image: bool
    ) -> _Part | None:
        if not asked:
            return None
        texts = [ids_of(sequence) for sequence in batch.sequences]
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        ids = _flat(texts)
        sequences = np.repeat(np.arange(len(texts)), lengths)
        # A token's loss is stored at the position before it, whose hidden state predicts it.
        offsets = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths) - 1
        # The shared beginning of the right texts is scored once, in the first sequence.
        num_shared = max(len(batch.shared_right) - 1, 0)
        # A code 0 is a code; a text id 0 is padding.
        kept = (offsets >= 0) & ((sequences == 0) | (offsets >= num_shared))
        if not is_image:
            kept &= ids != PAD_ID
        sequences, offsets = sequences[kept], offsets[kept]
        states = _state_index(batch, sequences, first + offsets - batch.first)
        return _Part(states, ids[kept], sequences, offsets, int(lengths.max()), num_shared, is_image)

    return [
        part(batch.left, lambda sequence: sequence.left, 0, is_image=False),
        part(batch.image, lambda sequence: sequence.image, config.image_start, is_image=True),
        part(batch.right, lambda sequence: sequence.right, config.right_start, is_image=False),
    ]


def _state_index(batch: ScoreBatch, sequences: Integers, offsets: Integers) -> Integers:
    """Return indices into the hidden states: those of the shared right text, then those of every sequence."""
    num_shared = len(batch.shared_right)
    own = num_shared + sequences * batch.length + offsets - num_shared
    return np.where(offsets < num_shared, offsets, own)


def _hidden(
    network: Network,
    cache: KeyValueCache,
    batch: ScoreBatch,
    moved: Sequence[Tensor],
) -> Tensor:
    """Return the hidden states of the shared right text, then of all sequences, shape = (states, hidden).

    moved: ids of the sequences and of the shared right text, left slot, slot.
    """
    ids, shared, left_slots, slots = moved
    if not batch.start:
        return network.encode(ids).flatten(0, 1)
    before: list[Tensor] = []
    if batch.shared_right:
        # Stored after the content that the slot's tag names, so the next sequence of that content
        # overwrites it.
        before.append(network.prefill(shared, cache, left_slots, slots, start=batch.first)[0])
    own = network.encode(ids, start=batch.start, cache=cache, left_slots=left_slots, slots=slots)
    return torch.cat([*before, own.flatten(0, 1)]) if before else own.flatten(0, 1)


def _losses(network: Network, hidden: Tensor, part: _Part, columns: Sequence[Tensor], count: int) -> Tensor:
    """Return the cross-entropy of each scored token, float64, shape = (sequences, length); else 0."""
    config = network.config
    states, ids, sequences, offsets = columns
    width = config.image_codebook_size if part.is_image else scored_text_width(config)
    head = network.image_logits if part.is_image else network.text_logits
    table = torch.zeros(count, part.length, dtype=torch.float64, device=hidden.device)
    if len(states):
        losses = [
            cross_entropy(head(hidden[some], width).float(), expected, reduction="none")
            for some, expected in zip(states.split(HEAD_POSITIONS), ids.split(HEAD_POSITIONS), strict=True)
        ]
        table[sequences, offsets] = torch.cat(losses).double()
    table[1:, : part.num_shared] = table[0, : part.num_shared]
    return table


def _flat(texts: Sequence[Ids]) -> Integers:
    return np.fromiter(chain.from_iterable(texts), np.int64, sum(map(len, texts)))


def _padded(texts: Sequence[Ids], length: int) -> Integers:
    """Return the ids of every text, padded to `length`, shape = (texts, length)."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    table = np.full((len(texts), length), PAD_ID, dtype=np.int64)
    table[np.arange(length) < lengths[:, None]] = _flat(texts)
    return table
