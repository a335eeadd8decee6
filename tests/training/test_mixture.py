"""A batch has as many sequences as asked for, every task has its share, and every example its turn."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from model.files.checkpoint import load_rudolph
from model.tasks import Prompts
from training.data import Example
from training.mixture import Mixture, TaskExamples, interleave
from training.sequences import RowBuilder
from training.tasks import TaskData, TaskName


def _source(task: TaskName, count: int, share: float, cells: int, *, images: bool = True) -> TaskExamples:
    examples = [Example(None, f"кот {i}", f"{task}:{i}", question="что") for i in range(count)]
    rows = [i if images else None for i in range(count)]
    codes = torch.arange(count, dtype=torch.int16)[:, None, None].expand(count, 2, cells)
    return TaskExamples(TaskData(task, Path("data"), share), examples, rows, codes)


def _mixture(folder: Path, batch: int, *, share: float = 0.1) -> Mixture:
    rudolph = load_rudolph(folder, dtype="float32")
    cells = rudolph.config.image_length
    sources = [
        _source("caption", 5, 2.0, cells),
        _source("draw", 3, 1.0, cells),
        _source("answer", 4, 1.0, cells, images=False),
    ]
    builder = RowBuilder(rudolph.config, rudolph.text_tokenizer)
    return Mixture(sources, builder, batch=batch, seed=1, unconditional_share=share)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 16])
def test_every_batch_has_its_size_and_tasks_have_their_shares(batch: int, tiny_v2: Path) -> None:
    mixture = _mixture(tiny_v2, batch)
    counts: Counter[str] = Counter()
    for step in range(820 // batch):
        parts = mixture(step)
        assert sum(len(part.left) for part in parts) == batch
        for part in parts:
            counts[part.kind] += len(part.left)
    total = sum(counts.values())
    expected = {"caption": 2 / 4.1, "draw": 1 / 4.1, "answer_text": 1 / 4.1, "unprompted": 0.1 / 4.1}
    for kind, share in expected.items():
        assert counts[kind] / total == pytest.approx(share, abs=0.01), kind


def test_every_example_has_its_turn_before_any_has_a_second(tiny_v2: Path) -> None:
    mixture = _mixture(tiny_v2, 3)
    seen = [place for step in range(40) for part in mixture(step) for place in part.places]
    captions = [place for place in seen if place.startswith("caption")]
    for first in range(0, len(captions) - 5, 5):
        assert len(set(captions[first : first + 5])) == 5


def test_a_batch_depends_on_seed_and_step_only(tiny_v2: Path) -> None:
    first, second = _mixture(tiny_v2, 5), _mixture(tiny_v2, 5)
    for step in (7, 3):
        for one, other in zip(first(step), second(step), strict=True):
            assert torch.equal(one.input_ids(), other.input_ids())


def test_shares_are_spread_evenly() -> None:
    order = interleave([3.0, 1.0])
    assert Counter(order) == {0: 750, 1: 250}
    assert all(Counter(order[first : first + 4]) == {0: 3, 1: 1} for first in range(0, 1000, 4))
    with pytest.raises(ValueError, match="positive"):
        interleave([1.0, -1.0])


@pytest.mark.parametrize("generation", ["tiny_v1", "tiny_v2"])
@pytest.mark.parametrize("with_image", [True, False])
def test_answers_are_laid_out_as_they_are_served(
    generation: str, with_image: bool, request: pytest.FixtureRequest
) -> None:
    rudolph = load_rudolph(request.getfixturevalue(generation), dtype="float32")
    config, tokenizer = rudolph.config, rudolph.text_tokenizer
    builder, prompts = RowBuilder(config, tokenizer), Prompts(config, tokenizer)
    source = _source("answer", 1, 1.0, config.image_length, images=with_image)
    codes = source.codes[:, 0].long() if with_image else None
    rows = builder.answer(["что это"], ["кот"], codes, source.data.loss_weights)
    assert tuple(rows.left[0].tolist()) == prompts.answer_left("что это", with_image=with_image)
    opened = prompts.answer_right(with_image=with_image)
    assert rows.right is not None
    right = rows.right[0].tolist()
    assert tuple(right[: len(opened)]) == opened
    assert prompts.text_of(right[len(opened) :]) == "кот"
    assert right[-1] == 3
    assert bool(rows.weights.image) == with_image
    if not with_image:
        assert rows.codes is not None
        assert not rows.codes.any()
