"""Perplexities of sequences: hidden states of a chunk, head slices of the asked positions only.

Tensors, no policy: which sequences stand in a chunk, and what is read from the cache, is the scheduler's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from model.config import PAD_ID
from model.kv_cache import KeyValueCache
from model.tasks import Ids, perplexity, scored_text_width
from model.transformer import Transformer
from workers.engine.score_group import ScoreChunk, read_ids
from workers.engine.transfer import FromDevice
from workers.engine.work import ScoredSequence

HEAD_POSITIONS = 1024
"""Positions whose logits exist at the same time; more would only cost memory."""


@dataclass(frozen=True)
class ChunkScores:
    """ppl of the sequences of a chunk, float64, shape = (sequences,); None: not asked."""

    left: FromDevice | None
    image: FromDevice | None
    right: FromDevice | None


def score_chunk(transformer: Transformer, cache: KeyValueCache, chunk: ScoreChunk) -> ChunkScores:
    """Compute what the chunk's Score asks for."""
    work = chunk.group.work
    config = transformer.config
    sequences = [work.sequences[index] for index in chunk.indices]
    hidden = _hidden(transformer, cache, chunk, sequences)

    def part(
        asked: bool, ids_of: Callable[[ScoredSequence], Ids], first: int, *, is_image: bool
    ) -> FromDevice | None:
        if not asked:
            return None
        ids = [ids_of(sequence) for sequence in sequences]
        width = config.image_codebook_size if is_image else scored_text_width(config)
        head = transformer.image_logits if is_image else transformer.text_logits
        # What the right texts begin with is scored in the first one, for all.
        num_equal = max(len(chunk.right) - 1, 0)
        # A code 0 is a code; a text id 0 is padding.
        targets = [
            (row, first + place - chunk.first, target)
            for row, own in enumerate(ids)
            for place, target in enumerate(own[1:])
            if (is_image or target != PAD_ID) and (row == 0 or place >= num_equal)
        ]
        losses = _losses(hidden, targets, lambda states: head(states, width))
        table = torch.zeros(len(ids), max(len(own) for own in ids), dtype=torch.float64, device=hidden.device)
        rows, columns = _columns(targets, first - chunk.first, hidden.device)
        table[rows, columns] = losses.double()
        table[1:, :num_equal] = table[0, :num_equal]
        return FromDevice(perplexity(table))

    return ChunkScores(
        left=part(work.left, lambda sequence: sequence.left, 0, is_image=False),
        image=part(work.image, lambda sequence: sequence.image, config.image_start, is_image=True),
        right=part(work.right, lambda sequence: sequence.right, config.right_start, is_image=False),
    )


def _hidden(
    transformer: Transformer, cache: KeyValueCache, chunk: ScoreChunk, sequences: list[ScoredSequence]
) -> Tensor:
    """Hidden states from position `chunk.first` on, shape = (sequences, positions, hidden)."""
    device = cache.body[0].device
    rows = [read_ids(sequence)[chunk.start :] for sequence in sequences]
    input_ids = torch.full((len(rows), chunk.length), PAD_ID, dtype=torch.int64)
    for row, ids in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
    input_ids = input_ids.to(device)
    if not chunk.start:
        return transformer.encode(input_ids)
    left_slots = torch.tensor([chunk.left_slot or 0], device=device)
    slots = torch.tensor([chunk.slot or 0], device=device)
    if not chunk.right:
        return transformer.encode(
            input_ids, start=chunk.start, cache=cache, left_slots=left_slots, slots=slots
        )
    # Written behind what the slot is remembered for: whoever comes next to it writes its own there.
    right_ids = torch.tensor([chunk.right], dtype=torch.int64, device=device)
    right = transformer.prefill(right_ids, cache, left_slots, slots, start=chunk.first)
    own = transformer.encode(input_ids, start=chunk.start, cache=cache, left_slots=left_slots, slots=slots)
    return torch.cat([right.expand(len(rows), -1, -1), own], dim=1)


def _losses(hidden: Tensor, targets: list[tuple[int, int, int]], head: Callable[[Tensor], Tensor]) -> Tensor:
    """Cross-entropy of every (row, place of the hidden state, target id), float32, shape = (targets,)."""
    if not targets:
        return torch.zeros(0, device=hidden.device)
    rows, places, ids = (
        torch.tensor(column, dtype=torch.int64, device=hidden.device) for column in zip(*targets, strict=True)
    )
    states = hidden[rows, places]
    return torch.cat(
        [
            cross_entropy(head(some).float(), wanted, reduction="none")
            for some, wanted in zip(states.split(HEAD_POSITIONS), ids.split(HEAD_POSITIONS), strict=True)
        ]
    )


def _columns(targets: list[tuple[int, int, int]], offset: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rows = torch.tensor([row for row, _, _ in targets], dtype=torch.int64, device=device)
    columns = torch.tensor([place - offset for _, place, _ in targets], dtype=torch.int64, device=device)
    return rows, columns
