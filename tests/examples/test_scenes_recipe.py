"""The recipe of the scenes from cut-outs to a served checkpoint, in a few steps a stage."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from examples.demo_scenes.__main__ import app
from examples.demo_scenes.generation import DRAWING
from examples.demo_scenes.recipe import FULL_MINUTES, Recipe, make_scenes
from examples.demo_scenes.rows import SceneMixture
from examples.demo_scenes.sets import SPRITE_SIDE
from examples.demo_scenes.things import STYLES, load_things
from model.config import SamplingDefaults
from model.files.checkpoint import load_rudolph
from tests.support.servers import serving
from training.image_tokenizer_trainer import TokenizerTraining
from training.optimizer import OptimizerSettings
from training.run_folder import StateMismatch
from training.state import save_state
from training.transformer_trainer import TransformerTraining

NUM_THINGS = 3
OPTIMIZER = OptimizerSettings(learning_rate=1e-3, warm_up_steps=1, muon=True)
ROWS = SceneMixture(drawn_rows=1, moved_rows=1, named_rows=1, named_composed_rows=1)
SHORT = Recipe(
    tokenizer=TokenizerTraining(3, OPTIMIZER, unquantised_steps=1),
    decoder=TokenizerTraining(2, OPTIMIZER, fixed_codes=True, log_error=0.3),
    transformer=TransformerTraining(2, OPTIMIZER),
    final_stage=TransformerTraining(1, OPTIMIZER),
    moved=1,
    hardly_moved=1,
    composed=2,
    mixture=ROWS,
    final_mixture=ROWS,
    num_things=NUM_THINGS,
)


def _write_sprites(work: Path) -> None:
    """Write cut-outs in place of those of the packages: a square of another grey for each."""
    shape = (NUM_THINGS, len(STYLES), 4, SPRITE_SIDE, SPRITE_SIDE)
    sprites = torch.zeros(shape, dtype=torch.uint8)
    for thing in range(NUM_THINGS):
        for style in range(len(STYLES)):
            sprites[thing, style, :3, 32:96, 32:96] = 40 + 60 * thing + 10 * style
            sprites[thing, style, 3, 32:96, 32:96] = 255
    characters = [thing.character for thing in load_things(NUM_THINGS)]
    save_state(work / "sprites.pt", {"characters": characters, "sprites": sprites})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run in `work` and its checkpoint in `first`."""
    folder = tmp_path_factory.mktemp("scenes")
    _write_sprites(folder / "work")
    make_scenes(folder / "work", folder / "first", SHORT, report=lambda _text: None)
    return folder


def test_stages_lead_to_a_checkpoint_and_are_not_repeated(made: Path) -> None:
    loaded = load_rudolph(made / "first")
    assert loaded.output_side == 64
    assert loaded.generation.sampling["text2image"] == SamplingDefaults(**DRAWING)
    states = {path: path.stat().st_mtime_ns for path in (made / "work").rglob("*.pt")}
    stages = {path.parent.name for path in states if path.name == "state.pt"}
    assert stages == {"image-tokenizer", "decoder", "transformer", "final_stage"}
    make_scenes(made / "work", made / "second", SHORT, report=lambda _text: None)
    assert {path: path.stat().st_mtime_ns for path in (made / "work").rglob("*.pt")} == states
    for name in ("model.safetensors", "vqgan.safetensors", "config.json", "generation_config.json"):
        assert (made / "first" / name).read_bytes() == (made / "second" / name).read_bytes()
    card = (made / "first" / "README.md").read_text(encoding="utf-8")
    assert "@iconify-json/twemoji` 1.2.5 | Twemoji, Twitter, Inc and other contributors | CC-BY-4.0" in card
    assert "Not measured yet." in card
    assert {"Apache-2.0.txt", "MIT.txt", "NOTICE.md"} <= {path.name for path in (made / "first").iterdir()}


@pytest.mark.slow
def test_a_served_checkpoint_is_measured_and_its_card_shows_figures_and_failures(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Slow because a server starts; with the usual eight candidates it draws twice as long.
    monkeypatch.setattr("examples.demo_scenes.quality.CANDIDATES", 2)
    with serving(made / "first", made / "server") as server:
        command = ["quality", "--server", server.url, "--checkpoint", str(made / "first")]
        command += ["--output", str(made / "report"), "--work", str(made / "work"), "--card"]
        done = CliRunner().invoke(app, [*command, "--things", str(NUM_THINGS), "--sample", "1"])
    assert done.exit_code == 0, done.output
    measures, failures = (
        json.loads((made / "report" / name).read_text(encoding="utf-8"))
        for name in ("quality.json", "failures.json")
    )
    measured = {line["name"] for line in measures}
    assert {"right thing, n = 1", "pair, new compositions", "classification among 200"} <= measured
    # A network after two steps draws nothing, so prompts fail.
    failed = failures["right thing, n = 1"]
    card = (made / "first" / "README.md").read_text(encoding="utf-8")
    assert f"- right thing, n = 1: «{failed[0]}»." in card
    assert "| right thing, n = 1 | 0.0 % | 1 |" in card
    with Image.open(made / "report" / "contact-sheet.png") as sheet:
        assert sheet.width > 64


def test_the_length_of_a_run_scales_the_steps() -> None:
    full, short = Recipe(), Recipe().within(FULL_MINUTES / 4)
    assert short.transformer.total_steps == round(full.transformer.total_steps / 4)
    assert short.tokenizer.total_steps == round(full.tokenizer.total_steps / 4)
    assert full.within(FULL_MINUTES) == full
    for minutes in (0.1, 10):
        trial = full.within(minutes).tokenizer
        assert trial.unquantised_steps < trial.total_steps


def test_a_run_of_another_recipe_is_refused(made: Path) -> None:
    with pytest.raises(StateMismatch, match="has a run of another recipe"):
        make_scenes(made / "work", made / "other", Recipe(seed=1))
