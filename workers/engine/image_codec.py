"""Image files to codes and back, beside the decode steps.

Knows the image tokenizer and a few threads; no sequences. The tokenizer runs one batch at a time, in a
thread of its own or whenever the engine polls. A batch is filled with images of other work items. Files are
read and written in several threads.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext, suppress

import torch
from torch import Tensor

from images.bounds import MAX_PIXELS
from images.pixel_budget import PixelBudget
from model.images import (
    ImageError,
    encode_image,
    open_image,
    pixels_to_bytes,
    redrawn_cells,
    to_square_pixels,
)
from model.rudolph import Rudolph
from model.tasks import Ids
from workers.engine.image_tasks import DecodePartial, Share, Task
from workers.engine.work import (
    DecodeImages,
    EncodedImages,
    EncodeImages,
    EngineEvent,
    PartialImageFile,
    WorkDone,
    WorkFailed,
)

GREY = 128


class ImageCodecWorker:
    """Takes work items, and returns the results of finished ones from `poll`."""

    def __init__(
        self,
        rudolph: Rudolph,
        num_threads: int,
        *,
        batch: int = 1,
        in_thread: bool = False,
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
        decode: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """batch: images that the tokenizer takes at once; context: what it runs in; decode: its decoder."""
        self._rudolph = rudolph
        self._decode = decode or rudolph.image_tokenizer.decode
        self._batch = batch
        self._context = context
        self._network = ThreadPoolExecutor(1, thread_name_prefix="images-network") if in_thread else None
        self._pending_batches: deque[Task] = deque()
        self._files = ThreadPoolExecutor(num_threads, thread_name_prefix="images-files")
        self._pending: list[Task] = []
        self._budget = PixelBudget(MAX_PIXELS)
        self._decodes: deque[Task] = deque()
        """Tasks with images to decode, in order of arrival; batches take the images of the first ones."""

    @property
    def is_busy(self) -> bool:
        return bool(self._pending)

    def submit(self, owner: str, work: EncodeImages | DecodeImages | DecodePartial) -> None:
        task = Task(owner, work)
        if isinstance(work, DecodeImages):
            self._decodes.append(task)
        self._queue(task)
        self._pending.append(task)

    def cancel(self, owner: str) -> None:
        """Drop the owner's work; a running item stops at its next batch."""
        for task in self._pending:
            if task.owner == owner:
                task.cancelled.set()
                self._forget(task)
        self._pending = [task for task in self._pending if task.owner != owner]

    def poll(self) -> tuple[list[EngineEvent], dict[str, float]]:
        """Return the events of finished items in order of submission, and the seconds spent by owner.

        Without a thread it computes the next batch first.
        """
        if self._pending_batches:
            self._run(self._pending_batches.popleft())
        events: list[EngineEvent] = []
        seconds: dict[str, float] = {}
        done = [task for task in self._pending if task.is_done]
        self._pending = [task for task in self._pending if task not in done]
        for task in done:
            seconds[task.owner] = seconds.get(task.owner, 0.0) + task.seconds
            event = task.event()
            if event is not None:
                events.append(event)
        return events, seconds

    def wait(self, timeout_s: float) -> None:
        """Wait until an item may be finished or a batch can be computed, or until the timeout."""
        if not self._pending_batches:
            wait([task.waits_for for task in self._pending], timeout_s, FIRST_COMPLETED)

    def close(self) -> None:
        for task in self._pending:
            task.cancelled.set()
        self._pending.clear()
        self._pending_batches.clear()
        if self._network is not None:
            self._network.shutdown(cancel_futures=True)
        self._files.shutdown(cancel_futures=True)

    def _queue(self, task: Task) -> None:
        if self._network is None:
            self._pending_batches.append(task)
        else:
            self._network.submit(self._run, task)

    # The network part -----------------------------------------------------------------------------------

    def _run(self, task: Task) -> None:
        """Run one batch of a task; the rest is queued after the batches of others."""
        # The images of a task may have been decoded with those of an earlier one.
        if task.cancelled.is_set() or task.network.done():
            return
        start = time.perf_counter()
        event: EngineEvent | None = None
        try:
            with torch.inference_mode(), self._context():
                is_whole = self._do_batch(task)
                event = self._event(task) if is_whole else None
        except Exception as error:  # a fault of one image must not end the engine
            is_whole = True
            event = None if isinstance(task.work, DecodePartial) else WorkFailed(task.owner, error)
        task.seconds += time.perf_counter() - start
        if is_whole:
            self._finish(task, event)
        elif not task.cancelled.is_set():
            self._queue(task)

    def _finish(self, task: Task, event: EngineEvent | None) -> None:
        self._forget(task)
        task.network.set_result(event)

    def _forget(self, task: Task) -> None:
        """Take no more images of a task; the engine's thread and the own one may do so at the same time."""
        with suppress(ValueError):
            self._decodes.remove(task)

    def _do_batch(self, task: Task) -> bool:
        """Run a batch; return whether it was the last one."""
        work = task.work
        if isinstance(work, EncodeImages):
            task.codes += self._encode(work.files[len(task.codes) :][: self._batch])
            return len(task.codes) == len(work.files)
        if isinstance(work, DecodeImages):
            self._decode_batch(task, work)
            return len(task.files) == len(work.codes)
        return True

    def _decode_batch(self, task: Task, work: DecodeImages) -> None:
        """Decode the next images of a task, and in the rest of the batch those of others."""
        start = time.perf_counter()
        shares = self._share_batch(task, work)
        try:
            pixels = self._pixels([codes for share in shares for codes in share.codes])
        except Exception:
            if len(shares) == 1:
                raise
            # A fault of another task's image must not end this one.
            shares = shares[:1]
            pixels = self._pixels(shares[0].codes)
        each = (time.perf_counter() - start) / len(pixels)
        images = iter(pixels)
        for share in shares:
            other = share.task
            other.files += [
                self._files.submit(encode_image, next(images), share.work.image_format) for _ in share.codes
            ]
            if other is not task:
                # `_run` charges the whole batch to `task`.
                other.seconds += each * len(share.codes)
                task.seconds -= each * len(share.codes)
                if len(other.files) == len(share.work.codes):
                    self._finish(other, None)

    def _share_batch(self, task: Task, work: DecodeImages) -> list[Share]:
        """Return the images of the next batch: first those of `task`, then in order of arrival."""
        shares = [Share(task, work, work.codes[len(task.files) :][: self._batch])]
        room = self._batch - len(shares[0].codes)
        for other in tuple(self._decodes):
            if not room:
                break
            if other is task or other.cancelled.is_set() or not isinstance(other.work, DecodeImages):
                continue
            codes = other.work.codes[len(other.files) :][:room]
            shares.append(Share(other, other.work, codes))
            room -= len(codes)
        return shares

    def _event(self, task: Task) -> EngineEvent | None:
        """Return the result of the network part."""
        work = task.work
        if isinstance(work, EncodeImages):
            return WorkDone(task.owner, EncodedImages(tuple(task.codes), self._read_mask(work)))
        if isinstance(work, DecodeImages):
            return None
        return PartialImageFile(task.owner, work.candidate, work.index, self._decode_partial(work))

    def _encode(self, files: Sequence[bytes]) -> list[Ids | ImageError]:
        some = list(self._files.map(self._read, files))
        pixels = [image for image in some if isinstance(image, Tensor)]
        codes: Iterator[list[int]] = iter(())
        if pixels:
            batch = torch.stack(pixels).to(self._rudolph.device)
            codes = iter(self._rudolph.image_tokenizer.encode(batch).tolist())
        return [p if isinstance(p, ImageError) else tuple(next(codes)) for p in some]

    def _read(self, data: bytes) -> Tensor | ImageError:
        try:
            return to_square_pixels(open_image(data, self._budget), self._rudolph.input_side)
        except ImageError as error:
            return error

    def _read_mask(self, work: EncodeImages) -> tuple[bool, ...] | ImageError | None:
        if work.mask is None:
            return None
        try:
            size = open_image(work.files[0], self._budget).size
            return tuple(redrawn_cells(work.mask, size, self._rudolph.config.image_width, self._budget))
        except ImageError as error:
            return error

    def _pixels(self, codes: Sequence[Ids]) -> Tensor:
        """Return the bytes of images on the host, (images, height, width, 3); lower rows may be missing."""
        width = self._rudolph.config.image_width
        batch = torch.tensor(codes, dtype=torch.int64, device=self._rudolph.device)
        return pixels_to_bytes(self._decode(batch.unflatten(1, (-1, width)))).cpu()

    def _decode_partial(self, work: DecodePartial) -> bytes:
        known = self._pixels([work.codes[: work.num_rows * self._rudolph.config.image_width]])[0]
        side = self._rudolph.output_side
        image = torch.full((side, side, known.shape[2]), GREY, dtype=torch.uint8)
        image[: known.shape[0]] = known
        return encode_image(image, work.image_format)
