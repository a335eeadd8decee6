"""Decode batches from sequences: their order, and one value of everything a step needs from each."""

from collections.abc import Sequence as Items

from model.backends.batches import DecodeBatch
from model.config import ModelConfig
from model.network.layout import Segment
from workers.engine.sequence import Sequence


class BatchBuilder:
    """Builds the batches of an engine, and keeps the last one while the same sequences decode."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._members: tuple[Sequence, ...] = ()
        self._ordered: tuple[Sequence, ...] = ()
        self._batch = DecodeBatch.empty()

    def steady(self, members: Items[Sequence]) -> tuple[DecodeBatch, tuple[Sequence, ...]]:
        """Do what `build` does; for the members of the last call, update the positions only."""
        is_same = len(members) == len(self._members) and all(
            mine is theirs for mine, theirs in zip(self._members, members, strict=True)
        )
        if is_same:
            self._batch.positions = [sequence.position for sequence in self._ordered]
        else:
            self._members = tuple(members)
            self._batch, self._ordered = self.build(members)
        return self._batch, self._ordered

    def build(self, members: Items[Sequence]) -> tuple[DecodeBatch, tuple[Sequence, ...]]:
        """Return the batch of these sequences, and all of its sequences in order."""
        left = [sequence for sequence in members if sequence.target is Segment.LEFT_TEXT]
        cond = [sequence for sequence in members if sequence.target is Segment.IMAGE]
        uncond = [sequence.uncond for sequence in cond if sequence.uncond is not None]
        # Those that read the same image are next to one another.
        right = sorted(
            (sequence for sequence in members if sequence.target is Segment.RIGHT_TEXT),
            key=lambda sequence: sequence.group.order,
        )
        ordered = (*left, *cond, *uncond, *right)
        index_of = {id(sequence): index for index, sequence in enumerate(ordered)}
        # All sequences of a group have the same image: they read it from the slot of the first.
        image_slots = {id(sequence.group): sequence.slot for sequence in reversed(right)}
        uncond_index, cond_index = list(range(len(ordered))), list(range(len(ordered)))
        weights = [0.0] * len(ordered)
        for sequence in cond:
            if sequence.uncond is not None:
                own, partner = index_of[id(sequence)], index_of[id(sequence.uncond)]
                uncond_index[own], cond_index[partner] = partner, own
                weights[own] = sequence.group.work.guidance
        samplings = [sequence.group.work.sampling for sequence in ordered]
        slices = [sequence.group.work.text_slice for sequence in ordered]
        codebook = self._config.image_codebook_size
        batch = DecodeBatch(
            num_left=len(left),
            num_image=len(cond) + len(uncond),
            slots=[sequence.slot for sequence in ordered],
            left_slots=[sequence.left_slot for sequence in ordered],
            image_slots=[image_slots.get(id(sequence.group), sequence.slot) for sequence in ordered],
            positions=[sequence.position for sequence in ordered],
            ends=[sequence.group.end for sequence in ordered],
            temperature=[sampling.temperature for sampling in samplings],
            top_k=[sampling.top_k for sampling in samplings],
            top_p=[sampling.top_p for sampling in samplings],
            min_p=[sampling.min_p for sampling in samplings],
            seeds=[sequence.seed for sequence in ordered],
            widths=[codebook if ids is None else ids.width for ids in slices],
            eos_from=[codebook if ids is None else ids.eos_from for ids in slices],
            uncond_index=uncond_index,
            cond_index=cond_index,
            guidance_weight=weights,
        )
        return batch, ordered
