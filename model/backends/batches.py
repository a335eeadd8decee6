"""Input of a backend: prompts, the sequences of a decode step, sequences to score.

Plain host data, the same for every backend. Slots and positions are numbers; no tensors, no policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from model.config import PAD_ID
from model.tasks import Ids

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Prompt:
    """Ids to compute and store, from the first position of their region on."""

    left_slot: int
    slot: int | None
    """None: the ids are a left text; else they continue it, from the first image position on."""
    ids: Ids


@dataclass(frozen=True)
class PromptCopy:
    """The first `length` positions of one slot, to be copied to another one of the same pool."""

    source: int
    target: int
    length: int


@dataclass
class DecodeBatch:
    """Sequences that draw their next token together; every list has one value a sequence.

    Order: left text, then images, then right text. Among the images the unconditional sequences of guidance
    follow all others. The batch is built when sequences come or go; between, only `positions` changes, and a
    backend may keep what it made of the rest.
    """

    num_left: int
    num_image: int
    slots: list[int]
    left_slots: list[int]
    image_slots: list[int]
    """Right text: a slot with the same image as the sequence's own. What several name is read once."""
    positions: list[int]
    """Positions of the last known tokens; the next ones are drawn."""
    ends: list[int]
    """One past the last position to draw."""
    temperature: list[float]
    top_k: list[int]
    top_p: list[float]
    min_p: list[float]
    seeds: list[int]
    widths: list[int]
    """Ids from 0 that may be drawn."""
    eos_from: list[int]
    """A drawn id of this value or above means eos."""
    uncond_index: list[int]
    """The sequence whose probabilities guidance mixes in; without guidance the sequence itself."""
    cond_index: list[int]
    """The sequence whose draw is used: for an unconditional one its conditional partner, else itself."""
    guidance_weight: list[float]
    """Weight of the unconditional probabilities, 0 … 1."""

    @classmethod
    def empty(cls) -> "DecodeBatch":
        """Return a batch without sequences."""
        return cls(0, 0, [], [], [], [], [], [], [], [], [], [], [], [], [], [], [])

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def image(self) -> slice:
        """The image sequences."""
        return slice(self.num_left, self.num_left + self.num_image)

    @property
    def text_indices(self) -> list[int]:
        """The sequences that draw text, in order."""
        return [*range(self.num_left), *range(self.num_left + self.num_image, len(self))]

    @property
    def has_guidance(self) -> bool:
        return any(weight > 0 for weight in self.guidance_weight)

    def select(self, indices: Sequence[int], *, num_left: int = 0, num_image: int = 0) -> "DecodeBatch":
        """Return the batch of the sequences at `indices`, the first `num_left` and `num_image` of each kind.

        The partner of a guided sequence must be selected too.
        """
        index_of = {old: new for new, old in enumerate(indices)}

        def of(values: list[_Value]) -> list[_Value]:
            return [values[index] for index in indices]

        return DecodeBatch(
            num_left=num_left,
            num_image=num_image,
            slots=of(self.slots),
            left_slots=of(self.left_slots),
            image_slots=of(self.image_slots),
            positions=of(self.positions),
            ends=of(self.ends),
            temperature=of(self.temperature),
            top_k=of(self.top_k),
            top_p=of(self.top_p),
            min_p=of(self.min_p),
            seeds=of(self.seeds),
            widths=of(self.widths),
            eos_from=of(self.eos_from),
            uncond_index=[index_of[index] for index in of(self.uncond_index)],
            cond_index=[index_of[index] for index in of(self.cond_index)],
            guidance_weight=of(self.guidance_weight),
        )


@dataclass(frozen=True)
class ScoredSequence:
    """One sequence to score. `left` has L ids; `image` is empty or has W² codes; `right` is unpadded."""

    left: Ids
    image: Ids = ()
    right: Ids = ()

    def read_ids(self) -> Ids:
        """Return the ids whose hidden states predict something that is scored.

        The last one predicts nothing, nor does the padding of a left text that nothing follows.
        """
        ids = self.left + self.image + self.right
        end = len(ids)
        if not self.image and not self.right:
            while end and ids[end - 1] == PAD_ID:
                end -= 1
        return ids[: max(end - 1, 0)]


@dataclass(frozen=True)
class ScoreBatch:
    """Sequences that are scored in one pass, from position `start` on.

    Before `start` all of them read the same keys and values: those of the two slots, and after them those of
    `shared_right`, ids of right text that are computed once.
    """

    sequences: tuple[ScoredSequence, ...]
    start: int
    length: int
    """Positions of the longest sequence from `start` on."""
    left_slot: int | None
    slot: int | None
    shared_right: Ids = ()
    left: bool = False
    """Whether the left text is scored; likewise `image` and `right`."""
    image: bool = False
    right: bool = False

    @property
    def first(self) -> int:
        """Position of the first hidden state that is computed."""
        return self.start - len(self.shared_right)

    @property
    def tokens(self) -> int:
        """Positions to compute."""
        return len(self.sequences) * self.length + len(self.shared_right)
