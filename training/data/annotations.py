"""Reads JSON annotations: COCO captions, VQA questions with their annotations, and lists of objects."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from training.data.examples import PICTURE_SUFFIXES, Example, FileImage
from training.data.folders import SPLITS
from training.data.reading import Needs, Reading, parse_json
from training.data.tables import read_list, stays_inside


def read_json(path: Path, reading: Reading) -> Iterator[Example]:
    """Yield the examples of a JSON file, by what it contains."""
    try:
        document = parse_json(path.read_bytes())
    except ValueError as error:
        reading.fault(str(path), str(error))
        return
    if isinstance(document, list):
        yield from read_list(document, path, reading)
    elif isinstance(document, dict) and _is_list(document, "questions"):
        yield from _questions(document, path, reading)
    elif _has_captions(document):
        yield from _captions(document, path, reading)
    else:
        reading.fault(
            str(path),
            "not a list of objects, no COCO captions (images, annotations) and no VQA questions (questions)",
        )


def is_annotation(path: Path) -> bool:
    """Return whether a JSON file of a folder should be read.

    Not read are the answers of a questions file, and COCO's annotations without captions (boxes, key points).
    """
    try:
        document = parse_json(path.read_bytes())
    except (ValueError, OSError):
        return True
    if not isinstance(document, dict):
        return isinstance(document, list)
    return _is_list(document, "questions") or _has_captions(document)


def _has_captions(document: Any) -> bool:
    is_coco = (
        isinstance(document, dict) and _is_list(document, "images") and _is_list(document, "annotations")
    )
    rows = document["annotations"] if is_coco else []
    return is_coco and (not rows or not _is_object(rows[0]) or "caption" in rows[0])


def _split_of(path: Path) -> str:
    """Return the split that COCO's names end with, such as captions_val2017; else train."""
    found = re.search(r"(?:^|_)([a-z]+)\d*$", path.stem.lower())
    return SPLITS.get(found[1], "train") if found else "train"


def _captions(document: dict[str, Any], path: Path, reading: Reading) -> Iterator[Example]:
    """COCO: `images` with id and file_name, `annotations` with image_id and caption."""
    names = {image.get("id"): image.get("file_name") for image in document["images"] if _is_object(image)}
    find = _finder(path)
    for number, annotation in enumerate(document["annotations"]):
        place = f"{path}:annotations[{number}]"
        if not _is_object(annotation):
            reading.fault(place, "not a JSON object")
            continue
        image_id = annotation.get("image_id")
        if image_id not in names:
            reading.fault(place, f"no image has the id {image_id}")
            continue
        row = {**annotation, "image": names[image_id]}
        yield from reading.examples(row, place, find, split=_split_of(path))


def _questions(document: dict[str, Any], path: Path, reading: Reading) -> Iterator[Example]:
    """VQA: `questions` with question_id, image_id and question; answers here, or in another file."""
    if reading.needs is not Needs.ANSWERS:
        reading.fault(str(path), "has questions; use --task answer")
        return
    answers = _answers(document, path)
    find = _finder(path)
    for number, question in enumerate(document["questions"]):
        place = f"{path}:questions[{number}]"
        if not _is_object(question):
            reading.fault(place, "not a JSON object")
            continue
        row = dict(question)
        identity = row.get("question_id")
        if "answer" not in row and identity not in answers:
            reading.fault(place, f"no annotation answers the question {identity}")
            continue
        row.setdefault("answer", answers.get(identity))
        if "image" not in row and "image_id" in row:
            row["image"] = str(row["image_id"])
        yield from reading.examples(row, place, find, split=_split_of(path))


def _answers(document: dict[str, Any], path: Path) -> dict[Any, Any]:
    """Return the answers by question, of the file itself or of the annotation files beside it."""
    documents: list[Any] = [document]
    for other in sorted(path.parent.glob("*.json")):
        if other != path:
            try:
                documents.append(parse_json(other.read_bytes()))
            except ValueError:
                continue  # not an annotation file
    found: dict[Any, Any] = {}
    for candidate in documents:
        if not (isinstance(candidate, dict) and _is_list(candidate, "annotations")):
            continue
        for annotation in candidate["annotations"]:
            if _is_object(annotation) and "question_id" in annotation:
                answer = annotation.get("multiple_choice_answer", annotation.get("answer"))
                found[annotation["question_id"]] = answer or annotation.get("answers")
    return found


def _finder(path: Path) -> Any:
    """Return a function that finds an image near the file by its name, or by its number in COCO's names."""
    folder = path.parent.parent if path.parent.name == "annotations" else path.parent

    @cache
    def index() -> Mapping[str, Path]:
        found: dict[str, Path] = {}
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() not in PICTURE_SUFFIXES:
                continue
            found.setdefault(file.name, file)
            # COCO_train2014_000000000009.jpg is image 9.
            if match := re.search(r"(\d+)$", file.stem):
                found.setdefault(str(int(match[1])), file)
        return found

    def find(name: str) -> FileImage | None:
        direct = folder / name
        if stays_inside(name) and direct.is_file():
            return FileImage(direct)
        file = index().get(Path(name).name)
        return None if file is None else FileImage(file)

    return find


def _is_list(document: dict[str, Any], name: str) -> bool:
    return isinstance(document.get(name), list)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)
