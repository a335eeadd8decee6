"""A run shows one line that fits, and logs its losses as JSON lines and for TensorBoard."""

import io
import json
import re
import struct
from pathlib import Path

import pytest
from rich.console import Console
from tensorboardX.proto import event_pb2

from training.progress import Progress


def events(path: Path) -> list[event_pb2.Event]:
    """The events of a file of records: length, checksum, message, checksum."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def test_means_of_the_steps_are_in_the_log_and_in_the_event_file(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Progress("test", 0, 300, log, report=lambda _: None) as progress:
        progress.update(1, {"loss": 0.5, "image": 2.0}, log_every=2)
        progress.update(2, {"loss": 0.5, "image": 1.0}, log_every=2)
        progress.update(300, {"loss": 0.25, "image": 1.0}, log_every=7)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(line["step"], line["loss"], line["image"]) for line in lines] == [
        (2, 0.5, 1.5),
        (300, 0.25, 1.0),
    ]
    (path,) = (tmp_path / "tensorboard").iterdir()
    scalars = [
        (event.step, value.tag, value.simple_value) for event in events(path) for value in event.summary.value
    ]
    assert scalars == [(2, "loss", 0.5), (2, "image", 1.5), (300, "loss", 0.25), (300, "image", 1.0)]


def test_a_resumed_log_has_the_lines_of_an_uninterrupted_one(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Progress("test", 0, 8, log, report=lambda _: None) as progress:
        for step in (1, 2, 3):
            progress.update(step, {"loss": float(step)}, log_every=2)
        saved = progress.state()
        progress.update(4, {"loss": 100.0}, log_every=2)
    with log.open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "lo')  # a kill cut this line
    with Progress("test", 3, 8, log, report=lambda _: None) as progress:
        progress.load_state(saved)
        progress.update(4, {"loss": 4.0}, log_every=2)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 1.5), (4, 3.5)]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_line_shows_steps_bar_time_losses_speed_and_memory_at_any_width(
    width: int, tmp_path: Path
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    names = ("draw_left", "draw_image", "name_image", "name_right", "unprompted_left", "unprompted_image")
    with Progress(
        "transformer", 0, 100_000, tmp_path / "log.jsonl", print, images_per_step=16, console=console
    ) as progress:
        progress.update(50_000, {"loss": 1.234} | dict.fromkeys(names, 12.3456), log_every=20)
        progress.measured(50_000, {"loss": 2.345})
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    shown = [line.rstrip() for line in re.split(r"[\r\n]+", plain) if "val" in line][-1]
    assert len(shown) <= width
    assert "50000/100000" in shown
    assert "━" in shown
    for part in (" left", "loss 1.23", "val 2.35", "img/s", "iB"):
        assert part in shown, shown
