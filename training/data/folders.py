"""Reads folders: a text file beside each image, class folders, and the hub's imagefolder with splits."""

from collections.abc import Iterator
from pathlib import Path

from training.data.examples import PICTURE_SUFFIXES, Example, FileImage
from training.data.reading import Needs, Reading
from training.data.text import MAX_TEXT_BYTES, EncodingError, decode, read_bounded

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def split_folders(folder: Path) -> list[tuple[str, Path]]:
    """Return the splits that a folder has as subfolders, such as `train` and `test`."""
    found = [(SPLITS[path.name.lower()], path) for path in sorted(folder.iterdir()) if _is_split(path)]
    return found if any(split == "train" for split, _ in found) else []


def read_images(folder: Path, reading: Reading, split: str = "train") -> Iterator[Example]:
    """Yield images with a .txt beside each; if no image has one, images in folders named by their class."""
    images = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in PICTURE_SUFFIXES
        and path.is_file()
        and not is_hidden(path.relative_to(folder))
    ]
    if reading.needs is Needs.IMAGES:
        yield from (Example(FileImage(path), "", str(path), split=split) for path in images)
        return
    has_texts = any(path.with_suffix(".txt").is_file() for path in images)
    by_class = not has_texts and bool(images) and all(path.parent != folder for path in images)
    for path in images:
        if by_class:
            label = path.parent.name.replace("_", " ").strip()
            row: dict[str, object] = {"label": label}
        else:
            text = _beside(path, reading)
            if text is None:
                continue
            row = {"text": text}
        yield from reading.examples(row, str(path), lambda _name: None, split=split, image=FileImage(path))


def is_hidden(path: Path) -> bool:
    """Return whether a path belongs to an editor or a file manager, not to the data."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts if part not in (".", ".."))


def _beside(path: Path, reading: Reading) -> str | None:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        reading.fault(str(path), f"there is no text file {beside.name} for the image")
        return None
    try:
        text, encoding = decode(read_bounded(beside, MAX_TEXT_BYTES), reading.columns.encoding)
    except EncodingError as error:
        reading.fault(str(beside), str(error))
        return None
    if encoding not in ("utf-8", "utf-8-sig"):
        reading.note(f"{beside.name} is read as {encoding}")
    if not text.strip():
        reading.fault(f"{beside}:1", "the text is empty")
        return None
    return text.strip()


def _is_split(path: Path) -> bool:
    return path.is_dir() and path.name.lower() in SPLITS
