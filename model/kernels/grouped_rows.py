"""Where the rows of one decode step stand in the cache: what they write, and which cells image rows read.

Knows slots and positions; no attention. Flat places of a pool count slot · length + position.
"""

from dataclasses import dataclass

from torch import Tensor

from model.kv_cache import KeyValueCache
from model.layout import RowGroups


@dataclass(frozen=True)
class GroupedRows:
    """Rows in the order of `groups`; positions (absolute), left_slots, slots: int64, shape = (rows,).

    `picture_slots`: of right-text rows, a slot that holds the same picture as their own; of others, any.
    """

    groups: RowGroups
    positions: Tensor
    left_slots: Tensor
    slots: Tensor
    picture_slots: Tensor

    @property
    def image(self) -> slice:
        """The image rows."""
        return slice(self.groups.num_left, self.groups.num_left + self.groups.num_image)

    @property
    def right(self) -> slice:
        """The right-text rows."""
        return slice(self.groups.num_left + self.groups.num_image, None)

    def image_cells(self, cache: KeyValueCache) -> Tensor:
        """Cell of each image row; shape = (image rows,)."""
        return self.positions[self.image] - cache.config.left_text_length

    def image_places(self, cache: KeyValueCache, table: Tensor) -> Tensor:
        """Flat body places of the cells that image rows read, by a table of shape (W², keys).

        Shape = (image rows, keys).
        """
        return table[self.image_cells(cache)] + self.slots[self.image, None] * cache.body_length


@dataclass(frozen=True)
class StepWrites:
    """Flat places of new keys and values: of left-text rows in the left pool, of the others in the body."""

    left: Tensor
    body: Tensor

    @classmethod
    def of(cls, cache: KeyValueCache, rows: GroupedRows) -> "StepWrites":
        left_length, num_left = cache.config.left_text_length, rows.groups.num_left
        return cls(
            left=rows.left_slots[:num_left] * left_length + rows.positions[:num_left],
            body=rows.slots[num_left:] * cache.body_length + rows.positions[num_left:] - left_length,
        )

    def store(self, new: Tensor, left: Tensor, body: Tensor) -> None:
        """Put new keys and values, (rows, 2, heads, head_size), into one layer's pools."""
        num_left = len(self.left)
        if num_left:
            left.view(-1, *left.shape[2:]).index_copy_(0, self.left, new[:num_left])
        if num_left < len(new):
            body.view(-1, *body.shape[2:]).index_copy_(0, self.body, new[num_left:])


def gather(body: Tensor, places: Tensor) -> Tensor:
    """Keys and values at flat places of a layer's body pool; shape = (*places.shape, 2, heads, head_size)."""
    flat = body.view(-1, *body.shape[2:])
    return flat.index_select(0, places.flatten()).view(*places.shape, *body.shape[2:])
