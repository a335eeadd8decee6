"""Bounds the pixels that are decoded at one time, in any number of threads.

A decoder takes memory for the whole image, and a WebP of 46 bytes may have 25 megapixels.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager


class PixelBudget:
    """Admits images in the order of their arrival while the sum of their pixels is within the budget."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._held = 0
        self._freed = threading.Condition()
        self._first_in_line = threading.Lock()

    @contextmanager
    def hold(self, num_pixels: int) -> Generator[None]:
        """Wait until the image may be decoded. An image beyond the whole budget is decoded alone."""
        # Only the first in line waits for pixels, so a large image is not passed by small ones for ever.
        with self._first_in_line, self._freed:
            self._freed.wait_for(lambda: not self._held or self._held + num_pixels <= self._max_pixels)
            self._held += num_pixels
        try:
            yield
        finally:
            with self._freed:
                self._held -= num_pixels
                self._freed.notify_all()
