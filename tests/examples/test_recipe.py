"""The demo's recipe from nothing to a checkpoint that loads, in a few steps a stage."""

from pathlib import Path

import pytest

from examples.demo_checkpoint.generation import DRAWING, PROMPTS
from examples.demo_checkpoint.images import DEFAULT_FONT
from examples.demo_checkpoint.recipe import Recipe, make_demo
from model.config import SamplingDefaults
from model.files.checkpoint import load_rudolph
from training.image_tokenizer_trainer import TokenizerTraining
from training.optimizer import OptimizerSettings
from training.transformer_trainer import TransformerTraining

OPTIMIZER = OptimizerSettings(learning_rate=1e-3, warm_up_steps=1, muon=True)
SHORT = Recipe(
    tokenizer=TokenizerTraining(3, OPTIMIZER, unquantised_steps=1),
    decoder=TokenizerTraining(2, OPTIMIZER, fixed_codes=True, log_error=0.3),
    transformer=TransformerTraining(2, OPTIMIZER),
    final_stage=TransformerTraining(1, OPTIMIZER),
)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.skipif(not DEFAULT_FONT.exists(), reason=f"{DEFAULT_FONT} is missing: fonts-noto-color-emoji")
def test_stages_lead_to_a_checkpoint_and_are_not_repeated(tmp_path: Path) -> None:
    work, first, second = tmp_path / "work", tmp_path / "first", tmp_path / "second"
    said: list[str] = []
    make_demo(work, first, SHORT, report=said.append)
    made = load_rudolph(first)
    assert made.output_side == 64
    assert made.generation.sampling["text2image"] == SamplingDefaults(**DRAWING)
    assert {body["prompt"] for body in made.generation.examples["text2image"]} >= set(PROMPTS)
    states = {path: path.stat().st_mtime_ns for path in work.rglob("*.pt")}
    stages = {path.parent.name for path in states if path.name == "state.pt"}
    assert stages == {"image-tokenizer", "decoder", "transformer", "final_stage"}
    make_demo(work, second, SHORT, report=said.append)
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.pt")} == states
    for name in ("model.safetensors", "vqgan.safetensors", "config.json", "generation_config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert said[-1] == f"the checkpoint is in {second}"
