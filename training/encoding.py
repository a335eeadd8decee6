"""Codes of the images of a data set: encoded once, stored while they are made, and found by their bytes.

So a corrected image is encoded again, an unchanged one never, and a run that is killed while it encodes
loses seconds.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.image_tokenizer import ImageTokenizer
from training.augment import AugmentStrength, augment_images
from training.data import DataError, Example
from training.run_folder import StopRequest
from training.state import load_state, save_state, step_generator

GENTLE = AugmentStrength(shift=0.02, scale=0.05, brightness=0.05)
CHUNK = 16
"""Examples that are encoded together. A chunk is encoded whole or not at all, so that its codes never
depend on where a run was killed."""
SAVE_EVERY_S = 20.0
REPORT_EVERY_S = 10.0
SHOWN_FAULTS = 5


@dataclass(frozen=True)
class EncodedImages:
    """Examples with the codes of their images."""

    examples: list[Example]
    """Those that can be used, in their order."""
    rows: list[int | None]
    """Index in `codes` of each example's image; None without an image."""
    codes: Tensor
    """int16, shape = (images, views, cells)."""
    keys: list[str]
    """Identifies the image of each example, or its text without one."""
    digest: str
    """Identifies every text and every image."""
    skipped: list[str]
    """Images that cannot be decoded, with their places."""


@dataclass(frozen=True)
class EncodeSettings:
    """How images are encoded."""

    side: int
    """Side in pixels of the square that is encoded."""
    views: int = 1
    """Encodings of each image: the image itself, and slightly moved copies."""
    seed: int = 0
    skip_broken: int = 0
    """Most images that may be skipped because they cannot be decoded; 0: none."""
    loaders: int = 2
    """Threads that read and decode images."""


@dataclass(frozen=True)
class _Loaded:
    """An example whose image was read."""

    example: Example
    digest: str | None
    """SHA-256 of the bytes of the image; None without an image."""
    data: bytes
    fault: str | None = None


class CodeStore:
    """Codes in a folder, by the digest of the image."""

    def __init__(self, folder: Path, identity: list[object]) -> None:
        """identity: the image tokenizer and the settings; other codes are deleted."""
        self._folder, self._identity = folder, identity
        self._codes: dict[str, Tensor] = {}
        self._new: dict[str, Tensor] = {}
        self._files = 0
        self._saved = time.monotonic()
        for path in sorted(folder.glob("*.pt")):
            stored = load_state(path)
            if stored is None or stored["identity"] != identity:
                path.unlink()
                continue
            self._files = max(self._files, int(path.stem) + 1)
            self._codes |= dict(zip(stored["digests"], stored["codes"], strict=True))

    def __contains__(self, digest: str) -> bool:
        return digest in self._codes

    def __getitem__(self, digest: str) -> Tensor:
        return self._codes[digest]

    def add(self, digest: str, codes: Tensor) -> None:
        """Add the codes of an image, shape = (views, cells), unless they are known."""
        if digest not in self._codes:
            self._codes[digest] = self._new[digest] = codes

    def save(self, *, now: bool = True) -> None:
        """Write the codes that were added; without `now` only every SAVE_EVERY_S."""
        if not self._new or (not now and time.monotonic() - self._saved < SAVE_EVERY_S):
            return
        path = self._folder / f"{self._files:05d}.pt"
        digests, codes = list(self._new), torch.stack(list(self._new.values()))
        save_state(path, {"identity": self._identity, "digests": digests, "codes": codes})
        self._files, self._new, self._saved = self._files + 1, {}, time.monotonic()


def encode_images(
    examples: Sequence[Example],
    tokenizer: ImageTokenizer,
    store: CodeStore,
    settings: EncodeSettings,
    *,
    device: torch.device,
    stop: StopRequest,
    report: Callable[[str], None] = print,
) -> EncodedImages:
    """Encode every image that is not stored.

    Raises DataError if more images are broken than `skip_broken` allows, after all others are stored, and
    Stopped after a signal.
    """
    kept: list[Example] = []
    digests: list[str | None] = []
    skipped: list[str] = []
    began = reported = time.monotonic()
    for done, chunk in _chunks(examples, settings.loaders):
        pixels = _decode_new(chunk, store, settings.side)
        usable = [item for item in chunk if item.fault is None and _is_usable(item, pixels, store)]
        if pixels:
            _encode(pixels, tokenizer, store, settings, device)
        skipped += [_fault_of(item, settings.side) for item in chunk if item not in usable]
        kept += [item.example for item in usable]
        digests += [item.digest for item in usable]
        store.save(now=False)
        now = time.monotonic()
        if now - reported >= REPORT_EVERY_S:
            reported = now
            left = (now - began) / done * (len(examples) - done)
            report(f"images encoded: {done}/{len(examples)}, {left:.0f} s left")
        if stop.requested:
            store.save()
            raise stop.error(f"The codes of {done} examples are saved.")
    store.save()
    _require_few(skipped, settings.skip_broken)
    return _gather(kept, digests, store, skipped)


def _chunks(examples: Sequence[Example], loaders: int) -> Iterator[tuple[int, list[_Loaded]]]:
    """Read the bytes of all images in threads, in order; yield the number of examples so far, and a chunk."""
    with ThreadPoolExecutor(max_workers=loaders) as pool:
        for first in range(0, len(examples), CHUNK):
            chunk = examples[first : first + CHUNK]
            yield first + len(chunk), list(pool.map(_load, chunk))


def _load(example: Example) -> _Loaded:
    if example.image is None:
        return _Loaded(example, None, b"")
    try:
        data = example.read()
    except DataError as error:
        return _Loaded(example, None, b"", str(error))
    return _Loaded(example, hashlib.sha256(data).hexdigest()[:32], data)


def _is_new(item: _Loaded, store: CodeStore) -> bool:
    return item.digest is not None and item.digest not in store


def _decode_new(chunk: Sequence[_Loaded], store: CodeStore, side: int) -> dict[str, Tensor]:
    """Return the pixels of a whole chunk if any of its images can be decoded and is not stored."""
    new = _decode([item for item in chunk if _is_new(item, store)], side)
    if not new:
        return {}
    others = _decode([item for item in chunk if item.digest not in new], side)
    known = new | others
    return {item.digest: known[item.digest] for item in chunk if item.digest in known}


def _decode(chunk: Sequence[_Loaded], side: int) -> dict[str, Tensor]:
    """Return the pixels of the images of a chunk by digest, without those that are broken."""
    pixels: dict[str, Tensor] = {}
    for item in chunk:
        if item.digest is None or item.digest in pixels:
            continue
        try:
            pixels[item.digest] = item.example.decode(item.data, side)
        except DataError:
            continue  # counted by the caller
    return pixels


def _is_usable(item: _Loaded, pixels: dict[str, Tensor], store: CodeStore) -> bool:
    return item.digest is None or item.digest in pixels or item.digest in store


def _fault_of(item: _Loaded, side: int) -> str:
    if item.fault is not None:
        return item.fault
    try:
        item.example.decode(item.data, side)
    except DataError as error:
        return str(error)
    return item.example.place


@torch.no_grad()
def _encode(
    pixels: dict[str, Tensor],
    tokenizer: ImageTokenizer,
    store: CodeStore,
    settings: EncodeSettings,
    device: torch.device,
) -> None:
    views: list[Tensor] = [torch.stack(list(pixels.values()))]
    for view in range(1, settings.views):
        moved = [
            augment_images(image[None], GENTLE, step_generator(settings.seed, view, f"views {digest}"))[0]
            for digest, image in pixels.items()
        ]
        views.append(torch.stack(moved))
    encoded = [tokenizer.encode(view.to(device)).short().cpu() for view in views]
    for digest, codes in zip(pixels, torch.stack(encoded, dim=1), strict=True):
        store.add(digest, codes)


def _require_few(skipped: Sequence[str], allowed: int) -> None:
    if len(skipped) <= allowed:
        return
    shown = "; ".join(skipped[:SHOWN_FAULTS]) + (" …" if len(skipped) > SHOWN_FAULTS else "")
    raise DataError(
        f"{len(skipped)} images cannot be used: {shown}. Repair them, or allow it with --skip-broken "
        f"{len(skipped)}. The codes of all others are saved."
    )


def _gather(
    examples: list[Example], digests: list[str | None], store: CodeStore, skipped: list[str]
) -> EncodedImages:
    indices: dict[str, int] = {}
    rows: list[int | None] = []
    content = hashlib.sha256()
    for example, digest in zip(examples, digests, strict=True):
        rows.append(None if digest is None else indices.setdefault(digest, len(indices)))
        for part in (digest or "", example.question, example.text, example.split):
            content.update(part.encode("utf-8", "surrogatepass") + b"\0")
    codes = torch.stack([store[digest] for digest in indices]) if indices else torch.zeros(0, 1, 0)
    keys = [d or example.question or example.text for d, example in zip(digests, examples, strict=True)]
    return EncodedImages(examples, rows, codes, keys, content.hexdigest()[:32], skipped)
