"""The CUDA backend: steps and prompts are captured graphs of Triton kernels and the library's products."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from logging import getLogger

import torch
from torch import Tensor

from model.backends.base import DrawnTokens, Traits
from model.backends.batches import DecodeBatch, Prompt
from model.backends.cuda import memory
from model.backends.cuda.capture import Capturer
from model.backends.cuda.graphs import StepGraphs
from model.backends.cuda.image_graphs import SIZES, ImageGraphs
from model.backends.cuda.lanes import StepMemory
from model.backends.cuda.network import CudaNetwork
from model.backends.cuda.numerics import use_exact_arithmetic
from model.backends.cuda.prompt_graphs import PromptGraphs
from model.backends.cuda.warmup import run_largest_images, run_largest_work
from model.backends.host_copy import HostCopy
from model.backends.slot_backend import SlotBackend
from model.backends.upload import upload
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer

TRAITS = Traits(
    num_slots=256,
    step_tokens=16384,
    # The next step is launched before the last one is read, so that the device never waits.
    steps_in_flight=1,
    # Drafts are compared on the host, which would have to wait for the device.
    drafts_tokens=False,
    image_batch=SIZES[-1],
    images_in_thread=True,
    step_limit_s=60.0,
)
NUM_PADDING_SLOTS = 1
"""Slots of either kind that only padding uses: a batch is padded to the size of its graph."""

logger = getLogger(__name__)


class CudaBackend(SlotBackend):
    """One network on a CUDA device. Its weights may be changed in place, but not replaced."""

    network: CudaNetwork

    def __init__(self, network: Transformer, image_tokenizer: ImageTokenizer) -> None:
        weight = network.text_embeddings.weight
        self._is_cuda = weight.device.type == "cuda"
        if self._is_cuda:
            use_exact_arithmetic()
        super().__init__(CudaNetwork(network), weight.device, weight.dtype)
        self.traits = replace(TRAITS, step_tokens=memory.step_tokens_for(network.config, TRAITS.step_tokens))
        self._image_tokenizer = image_tokenizer
        self._image_stream = torch.cuda.Stream(self._device) if self._is_cuda else None

    def warmup(self, num_slots: int, num_spare_left: int, step_tokens: int) -> int:
        start = time.perf_counter()

        def build(count: int) -> None:
            try:
                self._build(count, num_spare_left, step_tokens)
            except Exception:
                self._release()
                raise

        found = memory.fit_num_slots(build, num_slots, self._first_attempt(num_slots, step_tokens))
        logger.info("graphs of up to %d sequences are ready after %.1f s", found, time.perf_counter() - start)
        return found

    def _first_attempt(self, num_slots: int, step_tokens: int) -> int:
        if not self._is_cuda:
            return num_slots
        free, total = memory.free_and_total(self._device)
        slot = memory.slot_bytes(self._config, self._dtype)
        work = memory.WORK_BYTES * self._config.hidden_size * step_tokens
        return memory.estimate_num_slots(free, total, slot, work, num_slots)

    def _build(self, num_slots: int, num_spare_left: int, step_tokens: int) -> None:
        total = num_slots + NUM_PADDING_SLOTS
        self._allocate(total, total + num_spare_left)
        stored = StepMemory(self.cache, self.tokens, self.forced, self._left_hidden, self._body_hidden)
        capturer = Capturer(self._device)
        self._graphs = StepGraphs(self._config, self.network, stored, num_slots, capturer)
        self._prompts = PromptGraphs(self.network, stored, capturer)
        if not self._is_cuda:
            return
        width = self._config.image_width
        run_largest_work(self.network, self.cache, step_tokens)
        # Memory belongs to the stream that it was allocated on.
        with self.image_context():
            run_largest_images(self._image_tokenizer, width, self.traits.image_batch, self._device)
        self._images = ImageGraphs(
            self._image_tokenizer, width, self._device, Capturer(self._device, self._image_stream)
        )
        torch.cuda.synchronize(self._device)
        memory.check_headroom(*memory.free_and_total(self._device))

    def _release(self) -> None:
        super()._release()
        for name in ("_graphs", "_prompts", "_images"):
            vars(self).pop(name, None)

    def prefill(self, prompts: Sequence[Prompt]) -> None:
        super().prefill(self._prompts.run(prompts))

    def start(self, batch: DecodeBatch, known_codes: Sequence[Sequence[int | None]]) -> DrawnTokens:
        self._force(batch.slots, known_codes)
        return _drawn(self._graphs.start(batch))

    def decode(self, batch: DecodeBatch) -> DrawnTokens:
        return _drawn(self._graphs.decode(batch))

    def decode_forced(self, batch: DecodeBatch, length: int) -> DrawnTokens:
        start = batch.positions[0]
        left_slots, slots = upload([batch.left_slots, batch.slots], self._device)
        ids = self.tokens[slots, start : start + length]
        self._body_hidden[slots] = self.network.prefill(ids, self.cache, left_slots, slots, start=start)[
            :, -1
        ]
        last = [position + length - 1 for position in batch.positions]
        return _drawn(self._graphs.start(replace(batch, positions=last)))

    def memory(self) -> dict[str, int]:
        return {
            "allocated": torch.cuda.memory_allocated(self._device),
            "reserved": torch.cuda.memory_reserved(self._device),
            "total": torch.cuda.get_device_properties(self._device).total_memory,
        }

    def image_context(self) -> AbstractContextManager[object]:
        return nullcontext() if self._image_stream is None else torch.cuda.stream(self._image_stream)

    def image_decoder(self, tokenizer: ImageTokenizer) -> Callable[[Tensor], Tensor]:
        return self._images.decode if self._is_cuda else tokenizer.decode


def _drawn(text_ids: Tensor | None) -> DrawnTokens:
    return DrawnTokens(None if text_ids is None else HostCopy(text_ids))
