"""The tensors behind the slots: prompts are computed, tokens are drawn, codes are read.

No policy: it does to the given rows what it is told. Rows name their slots; what a token means is not its
concern. Nothing in here waits for the device except where ids are asked for. Where the device has fused
decode steps (CUDA), those run instead of the plain ones, as captured graphs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.config import EOS_ID
from model.kernels import make_fused_step
from model.kv_cache import KeyValueCache
from model.sampler import sample
from model.transformer import Transformer
from workers.engine.ahead import Ahead
from workers.engine.batch import Batch
from workers.engine.scheduler import Copy, Fill, Jump
from workers.engine.sequence import Row
from workers.engine.transfer import FromDevice

if TYPE_CHECKING:
    from model.kernels.fused_step import FusedStep
    from workers.engine.graphs import StepGraphs


@dataclass(frozen=True)
class Drawn:
    """Ids drawn for text rows, on their way from the device; codes are read when a picture is complete."""

    rows: tuple[Row, ...]
    ids: FromDevice | None
    lengths: tuple[int, ...] = ()
    """Tokens that each row of the step knows more than before; empty: one each."""

    def by_row(self) -> Iterable[tuple[Row, int]]:
        """Each text row with its id; waits until the device is done with the step."""
        return zip(self.rows, [] if self.ids is None else self.ids.get().tolist(), strict=True)


class Runner:
    """Owns the cache, the drawn tokens, and the last hidden state of every stored prompt."""

    def __init__(self, transformer: Transformer, num_left_slots: int, num_slots: int) -> None:
        self._transformer = transformer
        config = self._config = transformer.config
        weight = transformer.text_embeddings.weight
        self._device = weight.device
        step = make_fused_step(transformer)
        if step is not None:
            # One slot of either kind is nobody's: rows that only fill up a graph's batch use it.
            num_left_slots, num_slots = num_left_slots + 1, num_slots + 1
        self.cache = KeyValueCache(config, num_left_slots, num_slots, self._device, weight.dtype)
        self._tokens = torch.zeros(num_slots, config.total_length, dtype=torch.int64, device=self._device)
        self._given = torch.zeros(num_slots, config.total_length, dtype=torch.bool, device=self._device)

        def hidden(slots: int) -> Tensor:
            return torch.zeros(slots, config.hidden_size, dtype=transformer.hidden_dtype, device=self._device)

        self._left_hidden = hidden(num_left_slots)
        self._body_hidden = hidden(num_slots)
        self._given_slots: set[int] = set()
        self._decoding: Batch | None = None
        # Guesses are compared on the host, which on a GPU would have to wait for them.
        is_cpu = self._device.type == "cpu"
        self._ahead = Ahead(transformer, self.cache, self._tokens) if is_cpu else None
        self._graphs: StepGraphs | None = None
        if step is not None:
            self._graphs = self._capture(step, num_slots - 1)

    def _capture(self, step: "FusedStep", max_rows: int) -> "StepGraphs":
        # Imports Triton, which a machine without a GPU need not have.
        from workers.engine.graphs import StepGraphs, Tables

        tables = Tables(self.cache, self._tokens, self._given)
        return StepGraphs(self._transformer, step, tables, max_rows, self._config.text_vocab_size)

    # Prompts --------------------------------------------------------------------------------------------

    def fill(self, fills: Sequence[Fill]) -> None:
        """Compute prompts and store their keys, values and last hidden states; left texts first."""

        def key(fill: Fill) -> tuple[bool, int]:
            return (fill.slot is not None, len(fill.ids))

        for (is_body, _), members in groupby(sorted(fills, key=key), key=key):
            same = list(members)
            left_slots = self._long([fill.left_slot for fill in same])
            slots = self._long([fill.slot or 0 for fill in same])
            hidden = self._transformer.prefill(
                self._long([fill.ids for fill in same]),
                self.cache,
                left_slots,
                slots,
                start=self._config.image_start if is_body else 0,
            )[:, -1]
            if is_body:
                self._body_hidden[slots] = hidden
            else:
                self._left_hidden[left_slots] = hidden

    def copy(self, left_copies: Sequence[Copy], body_copies: Sequence[Copy]) -> None:
        """Copy stored prompts to further slots."""
        for copies, copy, hidden in (
            (left_copies, self.cache.copy_left, self._left_hidden),
            (body_copies, self.cache.copy_body, self._body_hidden),
        ):
            for (source, length), members in groupby(copies, key=lambda c: (c.source, c.length)):
                targets = self._long([member.target for member in members])
                copy(source, targets, length)
                hidden[targets] = hidden[source].clone()

    # Rows -----------------------------------------------------------------------------------------------

    def start(self, rows: Sequence[Row]) -> Drawn:
        """Draw the first token of rows whose prompts are stored."""
        batch = Batch.of(self._config, rows, self._device)
        for row in batch.rows:
            self._write_given(row)
        from_body = self._bool([bool(row.group.body_prefix) for row in batch.rows])
        hidden = torch.where(
            from_body[:, None], self._body_hidden[batch.slots], self._left_hidden[batch.left_slots]
        )
        return self._draw(batch, hidden)

    def decode(self, rows: Sequence[Row]) -> Drawn:
        """Every row reads its last known token and draws the next one, or some more where guesses held."""
        if self._graphs is not None:
            text_rows, ids = self._graphs.decode(rows)
            return Drawn(text_rows, None if ids is None else FromDevice(ids))
        if self._ahead is not None and self._ahead.takes(rows):
            self._decoding = None
            return Drawn((), None, self._ahead.decode(rows))
        batch = self._decoding
        if batch is not None and batch.is_of(rows):
            batch.move_on()
        else:
            batch = self._decoding = Batch.of(self._config, rows, self._device)
        positions = batch.positions - 1
        hidden = self._transformer.decode(
            self._tokens[batch.slots, positions],
            positions,
            self.cache,
            batch.left_slots,
            batch.slots,
            groups=batch.groups(self._config),
            picture_slots=batch.picture_slots,
        )
        return self._draw(batch, hidden)

    def jump(self, jump: Jump) -> Drawn:
        """Rows read their last known token and the given codes behind it at once, then draw."""
        # The rows move without `decode`: its batch is no longer one token behind them.
        self._decoding = None
        batch = Batch.of(self._config, jump.rows, self._device, ahead=jump.length)
        start = jump.rows[0].position
        hidden = self._transformer.prefill(
            self._tokens[batch.slots, start : start + jump.length],
            self.cache,
            batch.left_slots,
            batch.slots,
            start=start,
        )[:, -1]
        return self._draw(batch, hidden)

    def codes(self, rows: Sequence[Row]) -> FromDevice:
        """Codes of each row as they stand, shape = (rows, W²); void where none is drawn yet."""
        slots = self._long([row.slot for row in rows])
        return FromDevice(self._tokens[slots, self._config.image_start : self._config.right_start])

    def _draw(self, batch: Batch, hidden: Tensor) -> Drawn:
        """Draw the tokens at `batch.positions`; given codes stand whatever was drawn."""
        image = text = None
        if batch.image is not None:
            logits = self._transformer.image_logits(
                batch.image_part(hidden), self._config.image_codebook_size
            )
            image = sample(logits, batch.image)
            places = batch.image_part(batch.slots), batch.image_part(batch.positions)
            image = torch.where(self._given[places], self._tokens[places], image)
        if batch.text is not None:
            logits = self._transformer.text_logits(batch.text_part(hidden), batch.text.width)
            text = sample(logits, batch.text.sampling, batch.text.allowed)
            text = text.masked_fill(text >= batch.text.eos_from, EOS_ID)
        self._tokens[batch.slots, batch.positions] = batch.joined(image, text)
        return Drawn(batch.text_rows, None if text is None else FromDevice(text))

    def _write_given(self, row: Row) -> None:
        """The slot's new user: its given codes, or none."""
        kept = row.group.work.kept
        if not kept:
            if row.slot in self._given_slots:
                self._given[row.slot] = False
                self._given_slots.remove(row.slot)
            return
        image = slice(self._config.image_start, self._config.right_start)
        self._tokens[row.slot, image] = self._long([code or 0 for code in kept])
        self._given[row.slot, image] = self._bool([code is not None for code in kept])
        self._given_slots.add(row.slot)

    def _long(self, values: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)

    def _bool(self, values: Sequence[bool]) -> Tensor:
        return torch.tensor(values, dtype=torch.bool, device=self._device)
