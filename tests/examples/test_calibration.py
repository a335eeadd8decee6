"""Temperature scaling finds the temperature of the data, and the checkpoint gets it."""

import json
from pathlib import Path

import pytest
import torch

from examples.demo_scenes.calibration import Judged, calibrated, confidence_gap, fit_temperature
from examples.demo_scenes.generation import set_probability_temperatures
from model.files.generation_config import read_generation_config


def _judged(temperature: float, *, count: int = 4000) -> list[Judged]:
    """Return choices whose right candidates are drawn with softmax(−surprise ÷ temperature)."""
    random = torch.Generator().manual_seed(1)
    surprises = 3 * torch.rand(count, 10, generator=random, dtype=torch.float64)
    labels = torch.multinomial(torch.softmax(-surprises / temperature, 1), 1, generator=random)[:, 0]
    return [Judged(row, label) for row, label in zip(surprises.tolist(), labels.tolist(), strict=True)]


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_temperature_that_drew_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature(_judged(temperature)) == pytest.approx(temperature, rel=0.08)


def test_the_gap_between_probability_and_right_choices_closes() -> None:
    calibration = calibrated(_judged(0.3))
    assert calibration.gap_before > 15
    assert calibration.gap_after < 3
    assert calibration.count == 2000


def test_the_gap_of_certain_and_half_right_choices_is_fifty_points() -> None:
    judged = [Judged([0.0, 1.0], 0), Judged([0.0, 1.0], 1)]
    assert confidence_gap(judged, 0.01) == pytest.approx(50)


def test_the_checkpoint_gets_the_temperatures(tmp_path: Path) -> None:
    file = tmp_path / "generation_config.json"
    file.write_text(
        json.dumps({"text2image": {"top_k": 5}, "classify": {"temperature": 2.0}}), encoding="utf-8"
    )
    set_probability_temperatures(tmp_path, {"classify": 0.25, "rank_texts": 0.5})
    read = read_generation_config(tmp_path)
    assert read.probability_temperature == {"classify": 0.25, "rank_texts": 0.5}
    assert read.sampling["text2image"].top_k == 5
