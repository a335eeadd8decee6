"""Decode steps and first draws as CUDA graphs: one for every batch size, for images and for texts.

Everything that a step reads is at a fixed address on the device, and the step itself advances the positions.
While no sequence comes or goes the host only replays. On a device without graphs the same steps run one
kernel after the other.
"""

from dataclasses import replace

import torch
from torch import Tensor

from model.backends.batches import DecodeBatch
from model.backends.cuda.capture import Capturer, Run
from model.backends.cuda.fused_step import FusedStep, StepInputs
from model.backends.cuda.lanes import Lane, StepMemory
from model.backends.cuda.triton_sampling import draw_onto
from model.config import PAD_ID, ModelConfig

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256)
"""Batch sizes with a graph of their own; a batch runs in the smallest that holds it."""


def graph_sizes(max_sequences: int) -> tuple[int, ...]:
    """Return the sizes of the graphs for `max_sequences` slots; the last one holds them all."""
    return (*(size for size in BATCH_SIZES if size < max_sequences), max_sequences)


class StepGraphs:
    """The steps of one network, each with a lane for images and one for texts."""

    def __init__(
        self,
        config: ModelConfig,
        step: FusedStep,
        memory: StepMemory,
        max_sequences: int,
        capturer: Capturer,
    ) -> None:
        """Capture all graphs."""
        self._config = config
        self._step = step
        self._memory = memory
        memory.tokens[memory.padding_slots[1]] = PAD_ID
        sizes = graph_sizes(max_sequences)

        def lane(vocab: int) -> Lane:
            return Lane(sizes, memory, vocab=vocab)

        self.images, self.texts = lane(config.image_codebook_size), lane(config.text_vocab_size)
        self._first_images, self._first_texts = lane(config.image_codebook_size), lane(config.text_vocab_size)
        self._batch: DecodeBatch | None = None
        self._parts: list[tuple[Lane, DecodeBatch, list[int]]] = []
        for decoding in (self.images, self.texts):
            decoding.prepare(self._decode_work, capturer.capture)
        for starting in (self._first_images, self._first_texts):
            starting.prepare(self._start_work, capturer.capture)

    def decode(self, batch: DecodeBatch) -> Tensor | None:
        """Read the last known token of every sequence and draw the next; return the drawn text ids."""
        if batch is not self._batch:
            self._batch, self._parts = batch, _split(batch, self.images, self.texts)
        return self._run(batch, self._parts, self.texts)

    def start(self, batch: DecodeBatch) -> Tensor | None:
        """Draw the next token of every sequence from its stored hidden state; return the drawn text ids."""
        return self._run(batch, _split(batch, self._first_images, self._first_texts), self._first_texts)

    def _run(
        self, batch: DecodeBatch, parts: list[tuple[Lane, DecodeBatch, list[int]]], texts: Lane
    ) -> Tensor | None:
        text_ids = None
        for lane, part, indices in parts:
            drawn = lane.run(replace(part, positions=[batch.positions[index] for index in indices]))
            if lane is texts:
                text_ids = drawn
        return text_ids

    def _decode_work(self, lane: Lane, size: int) -> Run:
        """Return the work of one decode step of `size` sequences, as it is captured."""
        columns, memory = lane.columns, self._memory
        inputs = StepInputs(
            memory.tokens,
            columns["positions"][:size],
            columns["left_slots"][:size],
            columns["slots"][:size],
        )

        @torch.inference_mode()
        def step() -> None:
            width, is_image = self._draws(lane)
            self._draw(lane, size, self._step.logits(inputs, memory.cache, width, is_image=is_image))

        return step

    def _start_work(self, lane: Lane, size: int) -> Run:
        """Return the work of `size` first draws, as it is captured."""
        columns, memory = lane.columns, self._memory

        @torch.inference_mode()
        def start() -> None:
            # A prompt that ends in the body was stored with the body.
            in_body = columns["positions"][:size] >= self._config.image_start
            body = memory.body_hidden[columns["slots"][:size]]
            left = memory.left_hidden[columns["left_slots"][:size]]
            normed = torch.where(in_body[:, None], body, left)
            width, is_image = self._draws(lane)
            self._draw(lane, size, self._step.first_logits(normed, width, is_image=is_image))

        return start

    def _draws(self, lane: Lane) -> tuple[int, bool]:
        """Return the number of ids that a lane draws from, and whether they are image codes."""
        if lane in {self.images, self._first_images}:
            return self._config.image_codebook_size, True
        return self._config.text_vocab_size, False

    def _draw(self, lane: Lane, size: int, logits: Tensor) -> None:
        is_guided = self._draws(lane)[1]
        draw_onto(logits, lane.sampling(size), lane.board(size), lane.drawn[:size], guided=is_guided)


def _split(batch: DecodeBatch, images: Lane, texts: Lane) -> list[tuple[Lane, DecodeBatch, list[int]]]:
    """Return the sequences of each lane, and their indices in the batch; no lane without sequences."""
    of_images, of_texts = list(range(len(batch)))[batch.image], batch.text_indices
    parts = [
        (images, batch.select(of_images, num_image=len(of_images)), of_images),
        (texts, batch.select(of_texts, num_left=batch.num_left), of_texts),
    ]
    return [part for part in parts if part[2]]
