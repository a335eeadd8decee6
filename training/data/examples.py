"""Examples of a data set. Images are read and decoded when they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from model.images import ImageError, open_image, to_square_pixels

MAX_PICTURE_BYTES = 64 << 20
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


class DataError(ValueError):
    """Data that cannot be used; the message names the file, and the line if there is one."""


class ImageSource(Protocol):
    """The bytes of an image, wherever they are stored."""

    @property
    def name(self) -> str:
        """Name for messages."""
        ...

    def read(self) -> bytes:
        """Return the bytes of the image file. Raises OSError."""
        ...


@dataclass(frozen=True)
class FileImage:
    """An image file, or an image inside an uncompressed archive."""

    path: Path
    offset: int = 0
    """Start of the image in `path`, in bytes."""
    size: int | None = None
    """Bytes of the image; None for the whole file."""

    @property
    def name(self) -> str:
        return self.path.name

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            size = self.path.stat().st_size if self.size is None else self.size
            if size > MAX_PICTURE_BYTES:
                raise OSError(f"the image is larger than {MAX_PICTURE_BYTES} bytes")
            file.seek(self.offset)
            return file.read(size)


@dataclass(frozen=True)
class Example:
    """An image with a text, a question with an answer, or both."""

    image: ImageSource | None
    text: str
    """The caption, the class, or the answer to the question."""
    place: str
    """Location of the example for messages, such as `data.csv:7`."""
    question: str = ""
    split: str = "train"
    """`train`, `validation` or `test`, as the data set says."""

    def read(self) -> bytes:
        """Return the bytes of the image. Raises DataError if there is none, or it cannot be read."""
        if self.image is None:
            raise DataError(f"{self.place}: there is no image")
        try:
            return self.image.read()
        except OSError as error:
            raise DataError(f"{self.place}: {self.image.name}: {error}") from error

    def pixels(self, side: int) -> Tensor:
        """Return pixels, shape = (3, side, side), in [0, 1]. Raises DataError if the image cannot be read."""
        return self.decode(self.read(), side)

    def decode(self, data: bytes, side: int) -> Tensor:
        """Return pixels of bytes that `read` returned. Raises DataError."""
        try:
            return to_square_pixels(open_image(data), side)
        except (OSError, ImageError) as error:
            name = self.image.name if self.image else ""
            raise DataError(f"{self.place}: {name}: {error}") from error


def load_pixels(examples: Sequence[Example], side: int) -> Tensor:
    """Return pixels of examples, shape = (examples, 3, side, side), in [0, 1]."""
    return torch.stack([example.pixels(side) for example in examples])
