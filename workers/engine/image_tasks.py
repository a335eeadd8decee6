"""Work on image files in progress, as the image codec's threads see it."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from model.images import ImageError, ImageFormat
from model.tasks import Ids
from workers.engine.work import DecodedImages, DecodeImages, EncodeImages, EngineEvent, WorkDone, WorkFailed


@dataclass(frozen=True)
class DecodePartial:
    """An image of which the first `num_rows` rows of cells are drawn."""

    candidate: int
    index: int
    codes: Ids
    num_rows: int
    image_format: ImageFormat


@dataclass(eq=False)
class Task:
    """A work item that is done batch by batch."""

    owner: str
    work: EncodeImages | DecodeImages | DecodePartial
    network: Future[EngineEvent | None] = field(default_factory=Future[EngineEvent | None])
    """Done after the network part; files of DecodeImages may still be written then."""
    codes: list[Ids | ImageError] = field(default_factory=list[Ids | ImageError])
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
        """Return the result; None for a partial image that could not be decoded."""
        event = self.network.result()
        if event is None and isinstance(self.work, DecodeImages):
            try:
                return WorkDone(self.owner, DecodedImages(tuple(file.result() for file in self.files)))
            except Exception as error:  # a fault of one image must not end the engine
                return WorkFailed(self.owner, error)
        return event


@dataclass(frozen=True)
class Share:
    """The images of a task in a batch."""

    task: Task
    work: DecodeImages
    codes: Sequence[Ids]
