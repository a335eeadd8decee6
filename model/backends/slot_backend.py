"""Base of the backends: the cache, the board, stored prompts, scoring. A subclass adds the steps."""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from model.backends.base import Backend, Scores
from model.backends.batches import Prompt, PromptCopy, ScoreBatch
from model.backends.host_copy import HostCopy, Mark
from model.backends.network import Network
from model.backends.scoring import score
from model.backends.upload import upload
from model.network.cache import KeyValueCache


class SlotBackend(Backend):
    """A backend whose network has the passes of `Network`."""

    cache: KeyValueCache
    tokens: Tensor
    """The board: the id at every position of every slot; int64, shape = (slots, total_length)."""
    forced: Tensor
    """Ids of the board that are never overwritten; bool, shape = (slots, total_length)."""

    def __init__(self, network: Network, device: torch.device, dtype: torch.dtype) -> None:
        """`dtype`: number format of keys and values."""
        self.network = network
        self._config = network.config
        self._device, self._dtype = device, dtype

    def _allocate(self, num_slots: int, num_left_slots: int) -> None:
        config, device = self._config, self._device
        self.cache = KeyValueCache(config, num_left_slots, num_slots, device, self._dtype)
        self.tokens = torch.zeros(num_slots, config.total_length, dtype=torch.int64, device=device)
        self.forced = torch.zeros_like(self.tokens, dtype=torch.bool)

        def hidden(slots: int) -> Tensor:
            return torch.zeros(slots, config.hidden_size, dtype=self.network.hidden_dtype, device=device)

        # Of each stored prompt, what its first token is drawn from.
        self._left_hidden, self._body_hidden = hidden(num_left_slots), hidden(num_slots)
        self._forced_slots: set[int] = set()

    def _release(self) -> None:
        """Free what `_allocate` made."""
        for name in ("cache", "tokens", "forced", "_left_hidden", "_body_hidden"):
            vars(self).pop(name, None)

    def prefill(self, prompts: Sequence[Prompt]) -> None:
        if not prompts:
            return

        def key(prompt: Prompt) -> tuple[bool, int]:
            return (prompt.slot is not None, len(prompt.ids))

        # Prompts of one length are one pass; left texts go first, because bodies read them.
        passes = [
            (is_body, list(members)) for (is_body, _), members in groupby(sorted(prompts, key=key), key=key)
        ]
        columns = [
            column
            for _, same in passes
            for column in (
                [prompt.ids for prompt in same],
                [prompt.left_slot for prompt in same],
                [prompt.slot or 0 for prompt in same],
            )
        ]
        moved = iter(upload(columns, self._device))
        for is_body, _ in passes:
            ids, left_slots, slots = next(moved), next(moved), next(moved)
            self._run_prompts(ids, left_slots, slots, is_body=is_body)

    def _run_prompts(self, ids: Tensor, left_slots: Tensor, slots: Tensor, *, is_body: bool) -> None:
        """Compute and store prompts of one length; ids: shape = (prompts, length)."""
        start = self._config.image_start if is_body else 0
        hidden = self.network.prefill(ids, self.cache, left_slots, slots, start=start)[:, -1]
        if is_body:
            self._body_hidden[slots] = hidden
        else:
            self._left_hidden[left_slots] = hidden

    def copy(self, left: Sequence[PromptCopy], body: Sequence[PromptCopy]) -> None:
        if not left and not body:
            return

        def source_of(copy: PromptCopy) -> tuple[int, int]:
            return (copy.source, copy.length)

        groups = [
            (is_body, source, length, [member.target for member in members])
            for is_body, copies in ((False, left), (True, body))
            for (source, length), members in groupby(copies, key=source_of)
        ]
        moved = upload([targets for *_, targets in groups], self._device)
        for (is_body, source, length, _), targets in zip(groups, moved, strict=True):
            copy = self.cache.copy_body if is_body else self.cache.copy_left
            hidden = self._body_hidden if is_body else self._left_hidden
            copy(source, targets, length)
            hidden[targets] = hidden[source].clone()

    def score(self, batch: ScoreBatch) -> Scores:
        return score(self.network, self.cache, batch)

    def codes(self, slots: Sequence[int]) -> HostCopy:
        image = slice(self._config.image_start, self._config.right_start)
        (at,) = upload([slots], self._device)
        return HostCopy(self.tokens[at, image])

    def mark(self) -> Mark:
        return Mark(self._device)

    def _force(self, slots: Sequence[int], known_codes: Sequence[Sequence[int | None]]) -> None:
        """Write the known codes of new sequences to the board, or clear those of the slots' last ones."""
        image = slice(self._config.image_start, self._config.right_start)
        known = [(slot, codes) for slot, codes in zip(slots, known_codes, strict=True) if codes]
        cleared = self._forced_slots.intersection(
            slot for slot, codes in zip(slots, known_codes, strict=True) if not codes
        )
        self._forced_slots.difference_update(cleared)
        self._forced_slots.update(slot for slot, _ in known)
        if not known and not cleared:
            return
        old, new, codes, flags = upload(
            [
                sorted(cleared),
                [slot for slot, _ in known],
                [[code or 0 for code in codes] for _, codes in known],
                [[code is not None for code in codes] for _, codes in known],
            ],
            self._device,
        )
        if cleared:
            self.forced[old] = False
        if known:
            self.tokens[new, image] = codes
            self.forced[new, image] = flags.bool()
