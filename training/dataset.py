"""The examples of all tasks of a run: read, encoded, and split into training and validation."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from training.data import DataError, Example, read_data
from training.encoding import CodeStore, EncodedImages, EncodeSettings, encode_images
from training.initialization import Start
from training.mixture import TaskExamples
from training.run_folder import catch_signals
from training.tasks import NEEDS, TaskData


@dataclass(frozen=True)
class TaskDataSet:
    """The examples of all tasks."""

    training: list[TaskExamples] = field(default_factory=list[TaskExamples])
    validation: list[TaskExamples] = field(default_factory=list[TaskExamples])
    digests: list[str] = field(default_factory=list[str])
    """Of every text and image, by task."""

    @property
    def count(self) -> int:
        """Examples for training."""
        return sum(len(source.examples) for source in self.training)

    def texts(self) -> list[str]:
        """Return the texts for training."""
        return [example.text for source in self.training for example in source.examples]


def load_data(
    tasks: Sequence[TaskData],
    start: Start,
    store: CodeStore,
    encoding: EncodeSettings,
    *,
    validate: float,
    device: torch.device,
    report: Callable[[str], None],
) -> TaskDataSet:
    """Read and encode the data of all tasks.

    validate: share of the examples that are held out where a data set has no validation split. Raises
    DataError, and Stopped after a signal.
    """
    found = [_read(task, report) for task in tasks]
    tokenizer = start.image_tokenizer.to(device)
    data = TaskDataSet()
    with catch_signals() as stop:
        for task, examples in zip(tasks, found, strict=True):
            encoded = encode_images(
                examples, tokenizer, store, encoding, device=device, stop=stop, report=report
            )
            if encoded.skipped:
                report(f"{len(encoded.skipped)} images are skipped: {'; '.join(encoded.skipped[:5])}")
            _split(task, encoded, data, validate)
            data.digests.append(encoded.digest)
    if not data.count:
        raise DataError("No example is left for training.")
    return data


def _read(task: TaskData, report: Callable[[str], None]) -> list[Example]:
    examples, reading = read_data(task.data, NEEDS[task.task], task.columns)
    reading.require(task.data, examples)
    for note in reading.notes:
        report(note)
    return examples


def _split(task: TaskData, encoded: EncodedImages, data: TaskDataSet, validate: float) -> None:
    """Add the examples to the training or the validation part. A test split is never trained on."""
    has_split = any(example.split == "validation" for example in encoded.examples)
    chosen: dict[bool, list[int]] = {False: [], True: []}
    for index, example in enumerate(encoded.examples):
        held_out = _is_held_out(encoded.keys[index], validate)
        if has_split:
            held_out = example.split == "validation"
        if example.split != "test":
            chosen[held_out].append(index)
    for held_out, part in ((False, data.training), (True, data.validation)):
        indices = chosen[held_out]
        if indices:
            examples = [encoded.examples[index] for index in indices]
            rows = [encoded.rows[index] for index in indices]
            part.append(TaskExamples(task, examples, rows, encoded.codes))
    if validate and not chosen[True]:
        raise DataError(
            f"{task.data}: --validate {validate} of {len(encoded.examples)} examples is none. "
            "Choose a larger share."
        )


def _is_held_out(key: str, share: float) -> bool:
    """Return whether an example belongs to the validation part.

    key: identifies its image, or its text without one. The choice depends on the key only: all texts of an
    image are on one side, and new examples move no others.
    """
    value = int.from_bytes(hashlib.sha256(f"validation {key}".encode()).digest()[:8], "big")
    return value < share * 2**64
