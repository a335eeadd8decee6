"""State files, random numbers of a step, and the loop that goes on where it was killed."""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from training.loop import LoopSettings, run_loop
from training.run_folder import StateMismatch
from training.schedule import default_warm_up, learning_rate_factor
from training.state import DiskFullError, epoch_batch, load_state, replace_file, save_state, step_generator


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_names_the_file_and_the_room_and_keeps_the_old_state(small_disk: Path) -> None:
    path = small_disk / "state.pt"
    save_state(path, {"weights": torch.ones(100_000)})
    with pytest.raises(DiskFullError, match=r"No space left for .*state\.pt: it has about 3\.81 MiB"):
        save_state(path, {"weights": torch.zeros(1_000_000)})
    kept = load_state(path)
    assert kept is not None
    assert torch.equal(kept["weights"], torch.ones(100_000))
    assert [entry.name for entry in small_disk.iterdir()] == ["state.pt"]


def test_a_partial_file_of_a_killed_process_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".state.pt.partial").write_bytes(b"x" * 1000)
    save_state(tmp_path / "state.pt", {"step": 1})
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("steps", [10, 100, 501])
def test_one_cycle_is_the_schedule_of_the_published_training(steps: int) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=1.0)
    published = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps, final_div_factor=500
    )
    for step in range(steps):
        factor = learning_rate_factor("one-cycle", step, steps, default_warm_up("one-cycle", steps))
        assert factor == pytest.approx(published.get_last_lr()[0], abs=1e-6 if steps < 501 else 1e-2), step
        optimizer.step()
        if step < steps - 1:
            published.step()


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
        Image.new("RGB", (4, 4)).save(path)


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
    assert any("resumed at step 3 of 7" in line for line in lines)


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    run_loop(_Counting(), tmp_path, LoopSettings(total_steps=1), {"data": 1}, lambda _: None)
    with pytest.raises(StateMismatch, match="other settings or data"):
        run_loop(_Counting(), tmp_path, LoopSettings(total_steps=1), {"data": 2}, lambda _: None)
