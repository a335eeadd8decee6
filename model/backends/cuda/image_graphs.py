"""The image decoder as CUDA graphs, on the stream of the thread that decodes images."""

from collections.abc import Callable

import torch
from torch import Tensor

from model.backends.cuda.capture import Capturer, Run, size_for
from model.image_tokenizer import ImageTokenizer

SIZES = (1, 4, 16)
"""Numbers of images with a graph of their own."""


class ImageGraphs:
    """Whole images in graphs. Images of which a part is known run one kernel after the other."""

    def __init__(
        self, tokenizer: ImageTokenizer, width: int, device: torch.device, capturer: Capturer
    ) -> None:
        """Capture all graphs. `width`: cells per side of a whole image."""
        self._tokenizer = tokenizer
        self._codes = torch.zeros(SIZES[-1], width, width, dtype=torch.int64, device=device)
        self._graphs: dict[int, Run] = {}
        self._pixels: dict[int, Tensor] = {}
        for size in reversed(SIZES):
            self._graphs[size] = capturer.capture(self._work(size))

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Do what `ImageTokenizer.decode` does; codes: shape = (images, rows, columns).

        The result is valid until the next call.
        """
        count = len(codes)
        if codes.shape[1:] != self._codes.shape[1:] or count > SIZES[-1]:
            return self._tokenizer.decode(codes)
        size = size_for(SIZES, count)
        self._codes[:count].copy_(codes)
        self._graphs[size]()
        return self._pixels[size][:count]

    def _work(self, size: int) -> Callable[[], None]:
        @torch.inference_mode()
        def decode() -> None:
            self._pixels[size] = self._tokenizer.decode(self._codes[:size])

        return decode
