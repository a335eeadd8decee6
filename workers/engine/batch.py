"""Rows side by side, as the network wants them: ordered by segment, their settings as tensors.

Knows which row stands where in a batch; does not run anything. Built when rows come or go, and moved on
otherwise, so that a step in which nobody comes or goes builds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.config import ModelConfig
from model.layout import RowGroups, Segment
from model.sampler import Guidance, SamplingRows
from workers.engine.sequence import Row


@dataclass
class TextRows:
    """Settings of the text rows: left-text rows, then right-text rows."""

    sampling: SamplingRows
    width: int
    """Text ids that any of the rows may draw from."""
    allowed: Tensor | None
    """Bool, shape = (rows, width), where rows differ; None: all may draw all."""
    eos_from: Tensor
    """int64, shape = (rows,): a drawn id that is not below means eos."""


@dataclass
class Batch:
    """Rows of one step. Shadows stand behind the image rows that they belong to."""

    members: tuple[Row, ...]
    """The rows that were asked for."""
    rows: tuple[Row, ...]
    """Ordered by segment, shadows included."""
    num_left: int
    num_image: int
    positions: Tensor
    """int64, shape = (rows,): places of the tokens that are drawn."""
    slots: Tensor
    left_slots: Tensor
    picture_slots: Tensor
    """Right-text rows of one group read their picture from the slot of the first of them."""
    image: SamplingRows | None
    text: TextRows | None

    @classmethod
    def of(cls, config: ModelConfig, members: Sequence[Row], device: torch.device, ahead: int = 1) -> "Batch":
        """Rows that draw the token `ahead` places behind their last known one."""
        left = [row for row in members if row.target is Segment.LEFT_TEXT]
        prompted = [row for row in members if row.target is Segment.IMAGE]
        image = prompted + [row.shadow for row in prompted if row.shadow is not None]
        right = [row for row in members if row.target is Segment.RIGHT_TEXT]
        right.sort(key=lambda row: row.group.order)  # those that read one picture stand together
        rows = (*left, *image, *right)
        picture_slots = {id(row.group): row.slot for row in reversed(right)}

        def long(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        positions = long([row.position + ahead for row in rows])
        text_positions = torch.cat([positions[: len(left)], positions[len(left) + len(image) :]])
        image_positions = positions[len(left) : len(left) + len(image)]
        return cls(
            members=tuple(members),
            rows=rows,
            num_left=len(left),
            num_image=len(image),
            positions=positions,
            slots=long([row.slot for row in rows]),
            left_slots=long([row.left_slot for row in rows]),
            picture_slots=long([picture_slots.get(id(row.group), row.slot) for row in rows]),
            image=_sampling(image, image_positions, _guidance(prompted, device)) if image else None,
            text=_text_rows(left + right, text_positions) if left or right else None,
        )

    def is_of(self, members: Sequence[Row]) -> bool:
        """Whether these are the very rows, one token further on than the last time."""
        return len(members) == len(self.members) and all(
            mine is theirs for mine, theirs in zip(self.members, members, strict=True)
        )

    def move_on(self) -> None:
        """Every row is one token further on."""
        self.positions = self.positions + 1
        if self.image is not None:
            self.image = replace(self.image, positions=self.image.positions + 1)
        if self.text is not None:
            self.text.sampling = replace(self.text.sampling, positions=self.text.sampling.positions + 1)

    def groups(self, config: ModelConfig) -> RowGroups:
        """Extents of a decode step that reads the last known tokens."""
        num_right = len(self.rows) - self.num_left - self.num_image
        left = self.rows[: self.num_left]
        right = self.rows[self.num_left + self.num_image :]
        return RowGroups(
            num_left=self.num_left,
            num_image=self.num_image,
            num_right=num_right,
            left_extent=max((row.position + 1 for row in left), default=0),
            right_extent=max((row.position + 1 - config.right_start for row in right), default=0),
        )

    def image_part(self, values: Tensor) -> Tensor:
        """Those of one value a row that belong to image rows."""
        return values[self.num_left : self.num_left + self.num_image]

    def text_part(self, values: Tensor) -> Tensor:
        """Those of one value a row that belong to text rows."""
        if not self.num_image:
            return values
        return torch.cat([values[: self.num_left], values[self.num_left + self.num_image :]])

    def joined(self, image: Tensor | None, text: Tensor | None) -> Tensor:
        """One value a row, from the parts; the inverse of `image_part` and `text_part`."""
        if image is None or text is None:
            only = text if image is None else image
            assert only is not None
            return only
        return torch.cat([text[: self.num_left], image, text[self.num_left :]])

    @property
    def text_rows(self) -> tuple[Row, ...]:
        return (*self.rows[: self.num_left], *self.rows[self.num_left + self.num_image :])


def _sampling(rows: Sequence[Row], positions: Tensor, guidance: Guidance | None = None) -> SamplingRows:
    sampling = SamplingRows.of(
        temperature=[row.sampling.temperature for row in rows],
        top_k=[row.sampling.top_k for row in rows],
        top_p=[row.sampling.top_p for row in rows],
        seeds=[row.seed for row in rows],
        positions=[0] * len(rows),
        guidance=guidance,
        device=positions.device,
    )
    return replace(sampling, positions=positions)


def _guidance(prompted: Sequence[Row], device: torch.device) -> Guidance | None:
    """Pairs, as places among the image rows: prompted ones first, then their shadows in the same order."""
    guided = [place for place, row in enumerate(prompted) if row.shadow is not None]
    if not guided:
        return None
    shadow_of = {place: len(prompted) + nth for nth, place in enumerate(guided)}
    shadows = list(shadow_of.values())
    weights = [row.group.work.guidance if row.shadow is not None else 0.0 for row in prompted]

    def long(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    return Guidance(
        unprompted=long([shadow_of.get(place, place) for place in range(len(prompted))] + shadows),
        weight=torch.tensor(weights + [0.0] * len(guided), dtype=torch.float32, device=device),
        prompted=long([*range(len(prompted)), *guided]),
    )


def _text_rows(rows: Sequence[Row], positions: Tensor) -> TextRows:
    device = positions.device
    widths = [row.text_slice.width for row in rows]
    width = max(widths)
    allowed = None
    if min(widths) < width:
        allowed = torch.arange(width, device=device) < torch.tensor(widths, device=device)[:, None]
    eos_from = torch.tensor([row.text_slice.eos_from for row in rows], dtype=torch.int64, device=device)
    return TextRows(_sampling(rows, positions), width, allowed, eos_from)
