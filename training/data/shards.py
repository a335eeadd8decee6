"""Reads WebDataset shards: tar files whose members with one stem are one example."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from training.data.examples import PICTURE_SUFFIXES, Example, FileImage
from training.data.folders import is_hidden
from training.data.reading import TEXT_FIELDS, Reading, parse_json
from training.data.text import MAX_TEXT_BYTES, EncodingError, decode

# What tarfile raises on damaged headers, besides its own errors.
_BAD_ARCHIVE = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, IndexError, KeyError)
TEXT_SUFFIXES = (".txt", ".json", ".cls")


def read_tar(path: Path, reading: Reading) -> Iterator[Example]:
    """Yield examples of one stem: an image, and its text as .txt, .json (with a text field) or .cls."""
    images: dict[str, tarfile.TarInfo] = {}
    rows: dict[str, dict[str, Any]] = {}
    num_bytes = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = Path(member.name)
                if not member.isfile() or not name.name or is_hidden(name):
                    continue
                stem, suffix = str(name.with_suffix("")), name.suffix.lower()
                place = f"{path}:{member.name}"
                if member.issparse() or member.offset_data + member.size > num_bytes:
                    reading.fault(place, "the member is larger than its data in the archive")
                    continue
                if suffix in PICTURE_SUFFIXES:
                    if stem in images:
                        reading.fault(place, f"a second image of the stem {stem}, after {images[stem].name}")
                    else:
                        images[stem] = member
                elif suffix in TEXT_SUFFIXES:
                    if member.size > MAX_TEXT_BYTES:
                        reading.fault(place, f"the text is longer than {MAX_TEXT_BYTES} bytes")
                        continue
                    file = archive.extractfile(member)
                    _add(rows.setdefault(stem, {}), file.read() if file else b"", suffix, place, reading)
    except _BAD_ARCHIVE as error:
        reading.fault(
            str(path), f"not a readable uncompressed tar file: {error}. Write the shard without compression."
        )
    for stem in dict.fromkeys((*images, *rows)):
        member = images.get(stem)
        place = f"{path}:{member.name if member else stem}"
        if stem not in rows:
            reading.fault(place, "there is no text for the image (.txt, .json or .cls of the same stem)")
            continue
        image = None if member is None else FileImage(path, member.offset_data, member.size)
        yield from reading.examples(rows[stem], place, lambda _name: None, image=image)


def _add(row: dict[str, Any], data: bytes, suffix: str, place: str, reading: Reading) -> None:
    """Add the fields of a member. A .txt wins over the texts of a .json, and that over a .cls."""
    try:
        if suffix == ".json":
            document = parse_json(data)
            if not isinstance(document, dict):
                reading.fault(place, "not a JSON object")
                return
            # A name in the metadata is that of another file.
            fields = {str(k).strip().lower(): v for k, v in cast(dict[str, Any], document).items()}
            row |= {name: value for name, value in fields.items() if name != "text" or "text" not in row}
            return
        text, _ = decode(data, reading.columns.encoding)
    except (EncodingError, ValueError) as error:
        reading.fault(place, str(error))
        return
    if suffix == ".txt":
        row["text"] = text
    elif not any(name in row for name in TEXT_FIELDS):
        row["label"] = text
