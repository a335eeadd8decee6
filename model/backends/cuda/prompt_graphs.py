"""Prompts as CUDA graphs: left texts, and images alone or with the beginning of a right text.

Prompts are padded to a few lengths. The keys and values of the padding are stored after those of the
prompt, where a sequence overwrites them before it reads them.
"""

from collections.abc import Sequence

import torch

from model.backends.batches import Prompt
from model.backends.cuda.capture import Capturer, Run, size_for
from model.backends.cuda.columns import Columns
from model.backends.cuda.lanes import StepMemory
from model.backends.cuda.network import CudaNetwork
from model.config import PAD_ID

LEFT_SIZES = (1, 2, 4, 8, 16, 32)
"""Numbers of left texts with a graph of their own."""
BODY_SIZES = (1, 2, 4)
"""Likewise of images, which are as long as several left texts."""
RIGHT_LENGTHS = 16
"""Right texts are padded to multiples of this length."""


class PromptGraphs:
    """The prompts of one network, computed and stored by replays."""

    def __init__(self, network: CudaNetwork, memory: StepMemory, capturer: Capturer) -> None:
        """Capture all graphs."""
        config = network.config
        self._image_length = config.image_length
        ends = (*range(0, config.right_text_length, RIGHT_LENGTHS), config.right_text_length)
        self._left = _PromptGraph(
            network, memory, capturer, start=0, length=config.left_text_length, sizes=LEFT_SIZES
        )
        self._bodies = {
            config.image_length + end: _PromptGraph(
                network,
                memory,
                capturer,
                start=config.image_start,
                length=config.image_length + end,
                sizes=BODY_SIZES,
            )
            for end in reversed(ends)
        }
        self._body_lengths = tuple(sorted(self._bodies))

    def run(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Compute and store prompts, left texts first; return those without a graph: parts of images."""
        self._left.run([prompt for prompt in prompts if prompt.slot is None])
        by_length: dict[int, list[Prompt]] = {}
        rest: list[Prompt] = []
        for prompt in prompts:
            if prompt.slot is None:
                continue
            if len(prompt.ids) < self._image_length:
                rest.append(prompt)
            else:
                by_length.setdefault(size_for(self._body_lengths, len(prompt.ids)), []).append(prompt)
        for length, members in by_length.items():
            self._bodies[length].run(members)
        return rest


class _PromptGraph:
    """Prompts of at most `length` ids, from position `start` on."""

    def __init__(
        self,
        network: CudaNetwork,
        memory: StepMemory,
        capturer: Capturer,
        *,
        start: int,
        length: int,
        sizes: tuple[int, ...],
    ) -> None:
        self._network, self._memory = network, memory
        self._start, self._length, self._sizes = start, length, sizes
        rows = (sizes[-1],)
        self._columns = Columns(
            {
                "ids": (torch.int64, (*rows, length)),
                "lasts": (torch.int64, rows),
                "left_slots": (torch.int64, rows),
                "slots": (torch.int64, rows),
            },
            memory.tokens.device,
        )
        self._graphs: dict[int, Run] = {}
        for size in reversed(sizes):
            self._load([], size)
            self._graphs[size] = capturer.capture(self._work(size))

    def run(self, prompts: Sequence[Prompt]) -> None:
        largest = self._sizes[-1]
        for first in range(0, len(prompts), largest):
            some = prompts[first : first + largest]
            size = size_for(self._sizes, len(some))
            self._load(some, size)
            self._graphs[size]()

    def _work(self, size: int) -> Run:
        columns, memory = self._columns, self._memory
        ids, lasts = columns["ids"][:size], columns["lasts"][:size]
        left_slots, slots = columns["left_slots"][:size], columns["slots"][:size]
        every = torch.arange(size, device=ids.device)
        hidden_of, own_slots = (
            (memory.body_hidden, slots) if self._start else (memory.left_hidden, left_slots)
        )

        @torch.inference_mode()
        def prefill() -> None:
            hidden = self._network.prefill(ids, memory.cache, left_slots, slots, start=self._start)
            hidden_of[own_slots] = hidden[every, lasts]

        return prefill

    def _load(self, prompts: Sequence[Prompt], size: int) -> None:
        left_slot, slot = self._memory.padding_slots
        missing = size - len(prompts)
        ids = [(*prompt.ids, *[PAD_ID] * (self._length - len(prompt.ids))) for prompt in prompts]
        self._columns.load(
            {
                "ids": ids + [(PAD_ID,) * self._length] * missing,
                "lasts": [len(prompt.ids) - 1 for prompt in prompts] + [0] * missing,
                "left_slots": [prompt.left_slot for prompt in prompts] + [left_slot] * missing,
                "slots": [slot if prompt.slot is None else prompt.slot for prompt in prompts]
                + [slot] * missing,
            }
        )
