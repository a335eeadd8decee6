"""What the model sees of the texts of a data set: lengths in tokens, texts that are cut, unknown letters."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from model.config import UNK_ID, ModelConfig
from model.text_tokenizer import TextError, TextTokenizer
from training.initialization import Start
from training.mixture import TaskExamples
from training.tasks import TaskName

Region = Literal["left", "right"]
SHOWN = 3
SHOWN_LETTERS = 12


@dataclass
class TextStudy:
    """The texts of one region of the sequence."""

    room: int
    """Tokens that fit, without the special ones."""
    lengths: list[int] = field(default_factory=list[int])
    cut: list[str] = field(default_factory=list[str])
    """Texts that do not fit, with their places."""
    unknown: Counter[str] = field(default_factory=Counter[str])
    """Letters that the vocabulary lacks, and their texts."""
    num_unknown: int = 0
    """Texts with such letters."""

    def lines(self, title: str) -> list[str]:
        """Return the study as lines for the user."""
        if not self.lengths:
            return []
        ordered = sorted(self.lengths)
        middle = ordered[len(ordered) // 2]
        lines = [
            f"{title}: {len(ordered)} texts of {ordered[0]} to {ordered[-1]} tokens (median {middle}); "
            f"{self.room} fit"
        ]
        if self.cut:
            lines.append(f"{len(self.cut)} texts are cut: {'; '.join(self.cut[:SHOWN])}")
        if self.num_unknown:
            letters = " ".join(letter for letter, _ in self.unknown.most_common(SHOWN_LETTERS))
            lines.append(f"{self.num_unknown} texts have letters that the model does not know: {letters}")
        return lines


def regions_of(task: TaskName) -> dict[str, Region]:
    """Return the region of each text of an example, by the name of the text."""
    if task == "answer":
        return {"questions": "left", "answers": "right"}
    return {"texts": "left" if task in ("draw", "text") else "right"}


def study_texts(
    texts: Iterable[tuple[str, str]], tokenizer: TextTokenizer, config: ModelConfig, region: Region
) -> TextStudy:
    """Study texts; each comes with its place."""
    length = config.left_text_length if region == "left" else config.right_text_length
    # bos, eos, and in the second generation a task token.
    study = TextStudy(length - 2 - (config.generation == 2))
    known: dict[str, bool] = {}
    for place, text in texts:
        try:
            ids = tokenizer.encode(text)
        except TextError as error:
            study.cut.append(f"{place}: {error}")
            continue
        study.lengths.append(len(ids))
        if len(ids) > study.room:
            study.cut.append(f"{place}: «…{tokenizer.decode(ids[study.room :])}» is lost")
        if UNK_ID in ids:
            study.num_unknown += 1
            for letter in set(text.lower()):
                if letter not in known:
                    known[letter] = UNK_ID not in tokenizer.encode(letter)
                if not known[letter]:
                    study.unknown[letter] += 1
    return study


def seen_text(text: str, tokenizer: TextTokenizer, room: int) -> str:
    """Return a text as the model sees it: in lower case, cut, without unknown letters."""
    return tokenizer.decode(tokenizer.encode(text)[:room])


def report_texts(start: Start, sources: Sequence[TaskExamples], report: Callable[[str], None]) -> None:
    """Report the examples of a run, and what is lost of their texts."""
    config, tokenizer = start.transformer.config, start.text_tokenizer
    for source in sources:
        task = source.data.task
        report(f"{task}: {len(source.examples)} examples of {source.data.data}")
        for title, region in regions_of(task).items():
            texts = [
                (example.place, example.question if title == "questions" else example.text)
                for example in source.examples
            ]
            for line in study_texts(texts, tokenizer, config, region).lines(title):
                report(f"  {line}")
