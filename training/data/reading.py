"""What all readers share: the names of columns, the faults that were found, and rows that become examples."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from training.data.examples import DataError, Example, ImageSource

PICTURE_FIELDS = (
    "picture",
    "image",
    "file_name",
    "path",
    "filename",
    "file",
    "картинка",
    "изображение",
    "файл",
)
TEXT_FIELDS = (
    "text",
    "caption",
    "label",
    "captions",
    "title",
    "текст",
    "подпись",
    "описание",
    "метка",
    "класс",
)
QUESTION_FIELDS = ("question", "вопрос")
ANSWER_FIELDS = ("answer", "answers", "multiple_choice_answer", "ответ")


class Needs(StrEnum):
    """What an example must have."""

    PAIRS = "an image and a text"
    ANSWERS = "a question and an answer"
    TEXTS = "a text"
    IMAGES = "an image"


@dataclass(frozen=True)
class Columns:
    """Names of the columns; None: the first that is known."""

    image: str | None = None
    text: str | None = None
    question: str | None = None
    answer: str | None = None
    encoding: str | None = None
    """Encoding of tables and text files; None: found from the bytes."""


@dataclass(frozen=True)
class Fault:
    """Something in the data that cannot be used."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


FindImage = Callable[[str], ImageSource | None]
"""The value of an image column → the image; None if it does not exist."""


@dataclass
class Reading:
    """A data set that is being read."""

    needs: Needs = Needs.PAIRS
    columns: Columns = Columns()
    faults: list[Fault] = field(default_factory=list[Fault])
    notes: list[str] = field(default_factory=list[str])
    """Decisions of the readers that the user should know, such as an encoding."""

    def fault(self, place: str, message: str) -> None:
        self.faults.append(Fault(place, message))

    def require(self, source: Path, examples: Sequence[Example]) -> None:
        """Raise DataError for the first fault, with the number of all, or if there is no example."""
        if self.faults:
            more = len(self.faults) - 1
            hint = f" ({more} more; `rudolph train check` lists all)" if more else ""
            raise DataError(f"{self.faults[0]}{hint}")
        if not examples:
            raise DataError(f"{source} has no example with {self.needs}")

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def examples(
        self,
        row: Mapping[str, Any],
        place: str,
        find_image: FindImage,
        *,
        split: str = "train",
        image: ImageSource | None = None,
    ) -> Iterator[Example]:
        """Yield the examples of a row: one, or one for each of several captions.

        find_image: finds the image of the row; not called with `image`. Faults are recorded.
        """
        row = {str(name).strip().lower(): value for name, value in row.items()}
        try:
            image = None if self.needs is Needs.TEXTS else image or self._image(row, find_image)
            question = ""
            if self.needs is Needs.ANSWERS:
                question = _one_text(row, QUESTION_FIELDS, self.columns.question, "--question-column")
                texts = _texts(row, ANSWER_FIELDS, self.columns.answer, "--answer-column")[:1]
            elif self.needs is Needs.IMAGES:
                texts = [""]
            else:
                texts = _texts(row, TEXT_FIELDS, self.columns.text, "--text-column")
        except _RowFault as error:
            self.fault(place, str(error))
            return
        for text in texts:
            yield Example(image, text, place, question, split)

    def _image(self, row: Mapping[str, Any], find_image: FindImage) -> ImageSource | None:
        required = self.needs in (Needs.PAIRS, Needs.IMAGES)
        name = _column(row, PICTURE_FIELDS, self.columns.image)
        if name is None or (not required and row[name] in (None, "")):
            if required or self.columns.image is not None:
                raise _missing(row, PICTURE_FIELDS, self.columns.image, "--picture-column")
            return None
        value = row[name]
        if not isinstance(value, str) or not value.strip():
            raise _RowFault(f"{name} is not a text, or is empty")
        found = find_image(value.strip())
        if found is None:
            raise _RowFault(f"the image {value.strip()} does not exist below the folder of the data")
        return found


class _RowFault(Exception):
    """Why a row cannot be used."""


def _column(row: Mapping[str, Any], known: Sequence[str], chosen: str | None) -> str | None:
    names = known if chosen is None else (chosen.strip().lower(),)
    present = [name for name in names if name in row]
    # A known column that is empty everywhere must not hide another one.
    return next((name for name in present if row[name] not in (None, "")), next(iter(present), None))


def _one_text(row: Mapping[str, Any], known: Sequence[str], chosen: str | None, option: str) -> str:
    return _texts(row, known, chosen, option)[0]


def _texts(row: Mapping[str, Any], known: Sequence[str], chosen: str | None, option: str) -> list[str]:
    name = _column(row, known, chosen)
    if name is None or row[name] is None:
        raise _missing(row, known, chosen, option)
    value = row[name]
    values = value if isinstance(value, list) else [value]
    texts = [_as_text(item) for item in values]
    if not texts or not all(texts):
        raise _RowFault(f"{name} is not a text, or is empty")
    return [text for text in texts if text is not None]


def _as_text(value: object) -> str | None:
    if isinstance(value, dict):  # an answer of VQA, with its confidence
        value = value.get("answer")
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None


def _missing(row: Mapping[str, Any], known: Sequence[str], chosen: str | None, option: str) -> _RowFault:
    found = ", ".join(str(name) for name in row if name) or "none"
    if chosen is not None:
        return _RowFault(f"there is no column {chosen}; the columns are: {found}")
    return _RowFault(
        f"none of the fields {', '.join(known)}; the columns are: {found}. Name the right one with {option}."
    )


def parse_json(data: bytes | str) -> Any:
    """Return a JSON value. Raises ValueError with a short message."""
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        return json.loads(text)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise ValueError("not valid JSON: too many levels") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error}") from error
