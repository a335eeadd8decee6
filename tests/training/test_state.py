"""State files, random numbers of a step, and the loop that goes on where it was killed."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from training.loop import LoopSettings, StateMismatch, run_loop
from training.state import epoch_batch, load_state, replace_file, save_state, step_generator


def test_every_epoch_shows_every_example_once_in_a_new_order() -> None:
    seen = [epoch_batch(seed=1, step=step, batch=3, size=10) for step in range(20)]
    flat = [index for batch in seen for index in batch]
    epochs = [flat[start : start + 10] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert epoch_batch(1, 7, 3, 10) == seen[7]


def test_a_batch_larger_than_the_data_still_counts_every_example_alike() -> None:
    assert set(Counter(epoch_batch(0, 0, 12, 4)).values()) == {3}


def test_random_numbers_depend_on_seed_step_and_stream_only() -> None:
    def drawn(seed: int, step: int, stream: str) -> float:
        return float(torch.rand(1, generator=step_generator(seed, step, stream)))

    assert drawn(1, 2, "a") == drawn(1, 2, "a")
    assert len({drawn(1, 2, "a"), drawn(2, 2, "a"), drawn(1, 3, "a"), drawn(1, 2, "b")}) == 4


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")

    def failing_write() -> None:
        with replace_file(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        failing_write()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_state_file_comes_back_equal(tmp_path: Path) -> None:
    state = {"step": 3, "weights": {"a": torch.arange(3.0)}}
    save_state(tmp_path / "state.pt", state)
    loaded = load_state(tmp_path / "state.pt")
    assert loaded is not None
    assert loaded["step"] == 3
    assert torch.equal(loaded["weights"]["a"], state["weights"]["a"])
    assert load_state(tmp_path / "none.pt") is None


class _Counting:
    name = "counting"

    def __init__(self) -> None:
        self.steps: list[int] = []

    def train_step(self, step: int) -> dict[str, float]:
        self.steps.append(step)
        return {"loss": 1.0 / (step + 1)}

    def state(self) -> dict[str, object]:
        return {"steps": self.steps}

    def load_state(self, state: dict[str, list[int]]) -> None:
        self.steps = state["steps"]

    def write_sheet(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("sheet")


def test_a_stopped_loop_goes_on_at_the_next_step(tmp_path: Path) -> None:
    def settings(stop_after: int | None) -> LoopSettings:
        return LoopSettings(total_steps=7, stop_after_steps=stop_after, log_every_steps=1)

    lines: list[str] = []
    assert not run_loop(_Counting(), tmp_path, settings(3), {"data": 1}, lines.append)
    trainer = _Counting()
    assert run_loop(trainer, tmp_path, settings(None), {"data": 1}, lines.append)
    assert trainer.steps == list(range(7))
    assert (tmp_path / "sheets" / "counting-000007.png").is_file()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 7
    assert any("going on at step 3 of 7" in line for line in lines)


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    run_loop(_Counting(), tmp_path, LoopSettings(total_steps=1), {"data": 1}, lambda _: None)
    with pytest.raises(StateMismatch, match="other settings or data"):
        run_loop(_Counting(), tmp_path, LoopSettings(total_steps=1), {"data": 2}, lambda _: None)
