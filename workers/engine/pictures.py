"""Picture files to codes and back, beside the engine's own steps.

Knows the image tokenizer and a few threads; no sequences. In the network part work items take turns batch by
batch: on CUDA in a thread and on a stream of its own, on a CPU a picture whenever the engine polls. Files are
read and written in several threads.
"""

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import torch
from torch import Tensor

from model.images import (
    PictureError,
    PictureFormat,
    encode_picture,
    open_picture,
    pixels_to_bytes,
    redrawn_cells,
    to_square_pixels,
)
from model.rudolph import Rudolph
from model.tasks import Ids
from workers.engine.work import (
    DecodedPictures,
    DecodePictures,
    EncodedPictures,
    EncodePictures,
    EngineEvent,
    PartialPicture,
    WorkDone,
    WorkFailed,
)

CUDA_BATCH = 16
GREY = 128


@dataclass(frozen=True)
class Partial:
    """A picture of which only the first `num_rows` rows of cells are drawn."""

    candidate: int
    index: int
    codes: Ids
    num_rows: int
    picture_format: PictureFormat


@dataclass(eq=False)
class _Task:
    """A work item that is done piece by piece."""

    owner: str
    work: EncodePictures | DecodePictures | Partial
    network: Future[EngineEvent | None] = field(default_factory=Future[EngineEvent | None])
    """Ends with the network part; of a DecodePictures the files may still be written then."""
    codes: list[Ids | PictureError] = field(default_factory=list[Ids | PictureError])
    files: list[Future[bytes]] = field(default_factory=list[Future[bytes]])
    cancelled: Event = field(default_factory=Event)
    seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        return self.network.done() and all(file.done() for file in self.files)

    @property
    def waits_for(self) -> Future[Any]:
        return next((file for file in self.files if not file.done()), self.network)

    def event(self) -> EngineEvent | None:
        """What came of it; None of a partial picture that could not be drawn."""
        event = self.network.result()
        if event is None and isinstance(self.work, DecodePictures):
            try:
                return WorkDone(self.owner, DecodedPictures(tuple(file.result() for file in self.files)))
            except Exception as error:  # a fault of one picture must not end the engine
                return WorkFailed(self.owner, error)
        return event


class PictureDesk:
    """Takes work items, and gives finished ones back when asked."""

    def __init__(self, rudolph: Rudolph, num_threads: int) -> None:
        self._rudolph = rudolph
        self._stream = torch.cuda.Stream(rudolph.device) if rudolph.device.type == "cuda" else None
        # A second thread that computes on a CPU would bring a second team of OpenMP threads, and with more of
        # them than cores they wait asleep: every decode step then takes half as long again, or twice as long.
        self._network = ThreadPoolExecutor(1, thread_name_prefix="pictures-network") if self._stream else None
        self._turns: deque[_Task] = deque()
        self._files = ThreadPoolExecutor(num_threads, thread_name_prefix="pictures-files")
        # On the CPU a batch is no faster than its pictures one by one, and equal pictures stay equal bytes.
        self._batch = CUDA_BATCH if self._stream else 1
        self._pending: list[_Task] = []

    @property
    def is_busy(self) -> bool:
        return bool(self._pending)

    def submit(self, owner: str, work: EncodePictures | DecodePictures | Partial) -> None:
        task = _Task(owner, work)
        self._queue(task)
        self._pending.append(task)

    def cancel(self, owner: str) -> None:
        """Forget the owner's work; what runs stops at its next picture."""
        for task in self._pending:
            if task.owner == owner:
                task.cancelled.set()
        self._pending = [task for task in self._pending if task.owner != owner]

    def poll(self) -> tuple[list[EngineEvent], dict[str, float]]:
        """What is finished, in the order of submission, and the seconds that it took by owner.

        On a CPU it computes the next picture first.
        """
        if self._turns:
            self._run(self._turns.popleft())
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
        """Return when something may be finished or computed, or after the time."""
        if not self._turns:
            wait([task.waits_for for task in self._pending], timeout_s, FIRST_COMPLETED)

    def close(self) -> None:
        for task in self._pending:
            task.cancelled.set()
        self._pending.clear()
        self._turns.clear()
        if self._network is not None:
            self._network.shutdown(cancel_futures=True)
        self._files.shutdown(cancel_futures=True)

    def _queue(self, task: _Task) -> None:
        if self._network is None:
            self._turns.append(task)
        else:
            self._network.submit(self._run, task)

    # The network part -----------------------------------------------------------------------------------

    def _run(self, task: _Task) -> None:
        """One batch of the task; the rest goes behind what others wait for."""
        if task.cancelled.is_set():
            return
        start = time.perf_counter()
        event: EngineEvent | None = None
        try:
            with torch.inference_mode(), self._on_stream():
                is_whole = self._do_batch(task)
                event = self._event(task) if is_whole else None
        except Exception as error:  # a fault of one picture must not end the engine
            is_whole = True
            event = None if isinstance(task.work, Partial) else WorkFailed(task.owner, error)
        task.seconds += time.perf_counter() - start
        if is_whole:
            task.network.set_result(event)
        elif not task.cancelled.is_set():
            self._queue(task)

    def _do_batch(self, task: _Task) -> bool:
        """Whether that was the last one."""
        work = task.work
        if isinstance(work, EncodePictures):
            task.codes += self._encode(work.files[len(task.codes) :][: self._batch])
            return len(task.codes) == len(work.files)
        if isinstance(work, DecodePictures):
            for picture in self._pixels(work.codes[len(task.files) :][: self._batch]):
                task.files.append(self._files.submit(encode_picture, picture, work.picture_format))
            return len(task.files) == len(work.codes)
        return True

    def _event(self, task: _Task) -> EngineEvent | None:
        """What comes of the network part."""
        work = task.work
        if isinstance(work, EncodePictures):
            return WorkDone(task.owner, EncodedPictures(tuple(task.codes), self._read_mask(work)))
        if isinstance(work, DecodePictures):
            return None
        return PartialPicture(task.owner, work.candidate, work.index, self._decode_partial(work))

    @contextmanager
    def _on_stream(self) -> Generator[None]:
        if self._stream is None:
            yield
        else:
            with torch.cuda.stream(self._stream):
                yield

    def _encode(self, files: Sequence[bytes]) -> list[Ids | PictureError]:
        some = list(self._files.map(self._read, files))
        pixels = [picture for picture in some if isinstance(picture, Tensor)]
        codes: Iterator[list[int]] = iter(())
        if pixels:
            batch = torch.stack(pixels).to(self._rudolph.device)
            codes = iter(self._rudolph.image_tokenizer.encode(batch).tolist())
        return [p if isinstance(p, PictureError) else tuple(next(codes)) for p in some]

    def _read(self, data: bytes) -> Tensor | PictureError:
        try:
            return to_square_pixels(open_picture(data), self._rudolph.input_side)
        except PictureError as error:
            return error

    def _read_mask(self, work: EncodePictures) -> tuple[bool, ...] | PictureError | None:
        if work.mask is None:
            return None
        try:
            size = open_picture(work.files[0]).size
            return tuple(redrawn_cells(work.mask, size, self._rudolph.config.image_width))
        except PictureError as error:
            return error

    def _pixels(self, codes: Sequence[Ids]) -> Tensor:
        """Bytes of pictures on the host, shape = (pictures, height, width, 3); codes may lack lower rows."""
        width = self._rudolph.config.image_width
        batch = torch.tensor(codes, dtype=torch.int64, device=self._rudolph.device)
        return pixels_to_bytes(self._rudolph.image_tokenizer.decode(batch.unflatten(1, (-1, width)))).cpu()

    def _decode_partial(self, work: Partial) -> bytes:
        known = self._pixels([work.codes[: work.num_rows * self._rudolph.config.image_width]])[0]
        side = self._rudolph.output_side
        picture = torch.full((side, side, known.shape[2]), GREY, dtype=torch.uint8)
        picture[: known.shape[0]] = known
        return encode_picture(picture, work.picture_format)
