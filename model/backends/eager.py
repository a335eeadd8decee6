"""Base of the backends without captured steps. A subclass adds network, decode step and sampler."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.backends.base import DrawnTokens
from model.backends.batches import DecodeBatch
from model.backends.host_copy import HostCopy
from model.backends.jacobi import JacobiDecoder
from model.backends.slot_backend import SlotBackend
from model.backends.step_tensors import StepTensors
from model.config import EOS_ID
from model.network.sampler import SamplingBatch


class EagerBackend(SlotBackend):
    """A backend without captured steps."""

    def warmup(self, num_slots: int, num_spare_left: int, step_tokens: int) -> int:
        self._allocate(num_slots, num_slots + num_spare_left)
        self._last: tuple[DecodeBatch, StepTensors] | None = None
        self._jacobi = None
        if self.traits.drafts_tokens:
            self._jacobi = JacobiDecoder(self._config, self.tokens, self.forced, self._draw_drafts)
        return num_slots

    def start(self, batch: DecodeBatch, known_codes: Sequence[Sequence[int | None]]) -> DrawnTokens:
        self._force(batch.slots, known_codes)
        if self._jacobi is not None:
            self._jacobi.forget(batch.slots)
        step = StepTensors.of(batch, self._device)
        # A prompt that ends in the body was stored with the body.
        in_body = step.targets > self._config.image_start
        hidden = torch.where(
            in_body[:, None], self._body_hidden[step.slots], self._left_hidden[step.left_slots]
        )
        return self._draw(step, hidden)

    def decode(self, batch: DecodeBatch) -> DrawnTokens:
        if self._jacobi is not None and self._jacobi.pays_for(batch):
            return DrawnTokens(None, self._jacobi.decode(batch))
        step = self._next_step(batch)
        ids = self.tokens[step.slots, step.targets - 1]
        return self._draw(step, self._decode(batch, step, ids))

    def decode_forced(self, batch: DecodeBatch, length: int) -> DrawnTokens:
        step = StepTensors.of(batch, self._device, ahead=length)
        start = batch.positions[0]
        hidden = self.network.prefill(
            self.tokens[step.slots, start : start + length],
            self.cache,
            step.left_slots,
            step.slots,
            start=start,
        )[:, -1]
        return self._draw(step, hidden)

    def _next_step(self, batch: DecodeBatch) -> StepTensors:
        """Return the tensors of this step, those of the last one moved on where only positions changed."""
        if self._last is not None and self._last[0] == batch:
            step = self._last[1].next()
        else:
            step = StepTensors.of(batch, self._device)
        expected = replace(batch, positions=[position + 1 for position in batch.positions])
        self._last = (expected, step)
        return step

    def _draw(self, step: StepTensors, hidden: Tensor) -> DrawnTokens:
        """Draw the tokens at `step.targets` and write them to the board; forced tokens stay."""
        image = text = None
        if step.image is not None:
            logits = self.network.image_logits(step.image_part(hidden), self._config.image_codebook_size)
            at = step.image_part(step.slots), step.image_part(step.targets)
            image = torch.where(self.forced[at], self.tokens[at], self._sample(logits, step.image))
        if step.text is not None:
            logits = self.network.text_logits(step.text_part(hidden), step.text.width)
            if step.text.allowed is not None:
                logits = logits.masked_fill(~step.text.allowed, float("-inf"))
            text = self._sample(logits, step.text.sampling)
            text = text.masked_fill(text >= step.text.eos_from, EOS_ID)
        self.tokens[step.slots, step.targets] = step.joined(image, text)
        return DrawnTokens(None if text is None else HostCopy(text))

    def _draw_drafts(self, batch: DecodeBatch, ids: list[int]) -> list[int]:
        """Read `ids` at the positions of an image batch; return what is drawn after each, not stored."""
        step = StepTensors.of(batch, self._device)
        assert step.image is not None
        hidden = self._decode(batch, step, self._integers(ids))
        logits = self.network.image_logits(hidden, self._config.image_codebook_size)
        return self._sample(logits, step.image).tolist()

    @abstractmethod
    def _decode(self, batch: DecodeBatch, step: StepTensors, ids: Tensor) -> Tensor:
        """Run `ids` at `step.targets` − 1; return hidden states of shape (sequences, hidden)."""

    @abstractmethod
    def _sample(self, logits: Tensor, sampling: SamplingBatch) -> Tensor:
        """Draw one token per sequence; −∞ where none may be drawn."""

    def _integers(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)
