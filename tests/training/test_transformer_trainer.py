"""The transformer learns both directions, stops and goes on, and frozen parts stay as they are."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch.nn import functional

from model.config import PAD_ID, TaskToken
from model.files.checkpoint import load_rudolph
from model.network.transformer import Transformer
from model.tasks import Prompts
from training.freezing import Part, part_of
from training.loop import LoopSettings, run_loop
from training.losses import mean_losses
from training.optimizer import OptimizerSettings
from training.sequences import LossWeights, RowBuilder, Rows, Smoothing
from training.transformer_trainer import NonFiniteLossError, TransformerTrainer, TransformerTraining

TEXTS = ["кот", "дом у реки", "синий круг", "рыба"]


def _trainer(tiny: Path, **changes: object) -> TransformerTrainer:
    rudolph = load_rudolph(tiny, dtype="float32")
    config = rudolph.config
    builder = RowBuilder(config, rudolph.text_tokenizer)
    codes = torch.randint(
        config.image_codebook_size, (4, config.image_length), generator=torch.Generator().manual_seed(0)
    )

    def batches(step: int) -> list[Rows]:
        order = [(step + index) % 4 for index in range(3)]
        texts = [TEXTS[index] for index in order]
        rows = [
            builder.text_to_image(texts, codes[order], LossWeights()),
            builder.image_to_text(texts, codes[order], LossWeights()),
        ]
        return [
            *rows,
            builder.unconditional(codes[order], LossWeights()),
            builder.text_to_text(texts, LossWeights()),
        ]

    transformer = rudolph.transformer.requires_grad_(True)
    settings = TransformerTraining(
        30, OptimizerSettings(learning_rate=2e-3, warm_up_steps=3), precision="fp32"
    )
    return TransformerTrainer(transformer, batches, replace(settings, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("generation", ["tiny_v1", "tiny_v2"])
def test_all_losses_fall(generation: str, request: pytest.FixtureRequest) -> None:
    trainer = _trainer(request.getfixturevalue(generation))
    losses = [trainer.train_step(step) for step in range(30)]
    for name in ("draw_left", "draw_image", "name_image", "name_right", "unprompted_image", "text_left"):
        assert losses[-1][name] < losses[0][name] - 0.3, name


MUON = OptimizerSettings(learning_rate=2e-3, warm_up_steps=3, muon=True)


def test_muon_moves_the_matrices_of_the_blocks_and_nothing_else_otherwise_than_adamw(tiny_v2: Path) -> None:
    with_muon, without = _trainer(tiny_v2, optimizer=MUON), _trainer(tiny_v2)
    losses = [trainer.train_step(0) for trainer in (with_muon, without)]
    assert losses[0] == losses[1]
    other = dict(without.transformer.named_parameters())
    differing = {
        name for name, p in with_muon.transformer.named_parameters() if not torch.equal(p, other[name])
    }
    matrices = {
        f"transformer.{name}"
        for name, p in with_muon.transformer.transformer.named_parameters()
        if p.ndim == 2
    }
    assert differing == matrices


@pytest.mark.parametrize("muon", [False, True])
def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(
    muon: bool, tiny_v2: Path, tmp_path: Path
) -> None:
    optimizer = replace(MUON, muon=muon)

    def run(folder: str, stops: list[int | None]) -> Transformer:
        trainer = _trainer(tiny_v2, optimizer=optimizer)
        for stop in stops:
            trainer = _trainer(tiny_v2, optimizer=optimizer)
            loop = LoopSettings(total_steps=8, stop_after_steps=stop)
            run_loop(trainer, tmp_path / folder, loop, {}, lambda _: None)
        return trainer.transformer

    whole = run("whole", [None]).state_dict()
    parts = run("parts", [3, 2, None]).state_dict()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("part", get_args(Part))
def test_a_frozen_part_stays_and_everything_else_moves(part: Part, tiny_v2: Path) -> None:
    trainer = _trainer(tiny_v2, frozen=frozenset({part}))
    before = {name: p.detach().clone() for name, p in trainer.transformer.named_parameters()}
    for step in range(2):
        trainer.train_step(step)
    moved = {
        part_of(name)
        for name, parameter in trainer.transformer.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert moved == set(get_args(Part)) - {part}


def test_everything_frozen_is_refused(tiny_v2: Path) -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        _trainer(tiny_v2, frozen=frozenset(get_args(Part)))


def test_recomputed_activations_give_the_same_step(tiny_v2: Path) -> None:
    plain, recomputed = _trainer(tiny_v2), _trainer(tiny_v2, checkpoint_activations=True)
    assert plain.train_step(0) == pytest.approx(recomputed.train_step(0), rel=1e-6)
    other = recomputed.transformer.state_dict()
    for name, tensor in plain.transformer.state_dict().items():
        torch.testing.assert_close(tensor, other[name])


def test_losses_are_those_of_the_full_forward_with_padding_left_out(tiny_v2: Path) -> None:
    rudolph = load_rudolph(tiny_v2, dtype="float32")
    config = rudolph.config
    codes = torch.randint(config.image_codebook_size, (2, config.image_length))
    rows = RowBuilder(config, rudolph.text_tokenizer).image_to_text(
        ["кот", "дом у реки"], codes, LossWeights()
    )
    losses = mean_losses(rudolph.transformer, rows)
    ids = rows.input_ids()
    logits = rudolph.transformer(ids)[:, :-1]
    text, image = logits[..., : config.text_vocab_size], logits[..., config.text_vocab_size :]
    right = slice(config.right_start, None)
    of_right = functional.cross_entropy(
        text[:, right].flatten(0, 1), ids[:, 1:][:, right].flatten(), ignore_index=PAD_ID
    )
    cells = slice(config.image_start - 1, config.right_start - 1)
    of_image = functional.cross_entropy(image[:, cells].flatten(0, 1), ids[:, 1:][:, cells].flatten())
    assert float(losses["right"]) == pytest.approx(float(of_right), rel=1e-5)
    assert float(losses["image"]) == pytest.approx(float(of_image), rel=1e-5)
    smooth_rows = replace(rows, smoothing=Smoothing(image=0.2, right=0.1))
    smoothed = mean_losses(rudolph.transformer, smooth_rows)
    is_text = ids[:, 1:][:, right] != PAD_ID
    of_any_token = -text[:, right].log_softmax(-1).mean(-1)[is_text].mean()
    assert float(smoothed["right"]) == pytest.approx(float(0.9 * of_right + 0.1 * of_any_token), rel=1e-5)
    of_any_code = -image[:, cells].log_softmax(-1).mean()
    assert float(smoothed["image"]) == pytest.approx(float(0.8 * of_image + 0.2 * of_any_code), rel=1e-5)


@pytest.mark.parametrize("generation", ["tiny_v1", "tiny_v2"])
def test_rows_are_laid_out_as_they_are_served(generation: str, request: pytest.FixtureRequest) -> None:
    rudolph = load_rudolph(request.getfixturevalue(generation), dtype="float32")
    builder, prompts = (
        RowBuilder(rudolph.config, rudolph.text_tokenizer),
        Prompts(rudolph.config, rudolph.text_tokenizer),
    )
    codes = torch.zeros(1, rudolph.config.image_length, dtype=torch.long)
    drawn = builder.text_to_image(["синий круг"], codes, LossWeights())
    assert tuple(drawn.left[0].tolist()) == prompts.text2image_left("синий круг")
    named = builder.image_to_text(["синий круг"], codes, LossWeights())
    assert tuple(named.left[0].tolist()) == prompts.image2text_left()
    assert named.right is not None
    assert tuple(named.right[0].tolist()) == prompts.scored_right("синий круг")
    empty = builder.unconditional(codes, LossWeights())
    assert tuple(empty.left[0].tolist()) == prompts.uncond_left()
    text = builder.text_to_text(["синий круг"], LossWeights()).left[0].tolist()
    assert text[: len(prompts.text2text_left("синий круг"))] == list(prompts.text2text_left("синий круг"))
    if rudolph.config.generation == 2:
        assert drawn.left[0, 1] == rudolph.config.task_token(TaskToken.LT_T2I)


def _flat(transformer: Transformer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in transformer.parameters()])


@pytest.mark.parametrize("objective", ["masked", "reference"])
@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_accumulated_pieces_give_the_step_of_the_whole_batch(
    objective: str, pieces: int, tiny_v2: Path
) -> None:
    whole = _trainer(tiny_v2, objective=objective)
    parts = _trainer(tiny_v2, objective=objective, accumulate=pieces)
    start = _flat(whole.transformer).clone()
    first, second = whole.train_step(0), parts.train_step(0)
    assert second == pytest.approx(first, rel=1e-5)
    moved, other = _flat(whole.transformer) - start, _flat(parts.transformer) - start
    assert float(functional.cosine_similarity(moved, other, dim=0)) > 0.9999


@pytest.mark.parametrize("generation", ["tiny_v1", "tiny_v2"])
def test_no_loss_is_nan_where_a_segment_has_no_targets(
    generation: str, request: pytest.FixtureRequest
) -> None:
    losses = _trainer(request.getfixturevalue(generation)).train_step(0)
    assert all(torch.tensor(value).isfinite() for value in losses.values()), losses
    if generation == "tiny_v1":
        assert not {"name_left", "unprompted_left"} & losses.keys()


def test_a_part_of_weight_zero_adds_nothing_and_is_no_error(tiny_v2: Path) -> None:
    rudolph = load_rudolph(tiny_v2, dtype="float32")
    builder = RowBuilder(rudolph.config, rudolph.text_tokenizer)
    codes = torch.zeros(2, rudolph.config.image_length, dtype=torch.long)
    captions = builder.image_to_text(["кот", "рыба"], codes, LossWeights(0, 0, 1))
    drawings = builder.text_to_image(["кот", "рыба"], codes, LossWeights(0, 0, 1))
    settings = TransformerTraining(3, OptimizerSettings(1e-3), precision="fp32")
    trainer = TransformerTrainer(
        rudolph.transformer.requires_grad_(True), lambda _step: [captions, drawings], settings
    )
    losses = trainer.train_step(0)
    assert set(losses) == {"name_right", "loss", "norm", "learning_rate"}


def test_a_step_that_is_not_finite_is_refused_with_its_examples_and_changes_no_weight(
    tiny_v2: Path,
) -> None:
    rudolph = load_rudolph(tiny_v2, dtype="float32")
    transformer = rudolph.transformer.requires_grad_(True)
    codes = torch.zeros(1, rudolph.config.image_length, dtype=torch.long)
    rows = RowBuilder(rudolph.config, rudolph.text_tokenizer).image_to_text(["кот"], codes, LossWeights())
    rows = replace(rows, places=("data.csv:7",))
    trainer = TransformerTrainer(
        transformer,
        lambda _step: [rows],
        TransformerTraining(3, OptimizerSettings(1e-3), precision="fp32"),
    )
    with torch.no_grad():
        transformer.text_embeddings.weight[2, 0] = float("inf")
    before = _flat(transformer).clone()
    with pytest.raises(NonFiniteLossError, match=r"Step 5 .*data\.csv:7"):
        trainer.train_step(4)
    assert torch.equal(_flat(transformer), before)


def test_float16_skips_a_step_that_overflows_and_lowers_the_scale(tiny_v2: Path) -> None:
    trainer = _trainer(tiny_v2, precision="fp16")
    assert trainer.train_step(0)["loss"] > 0
    state = trainer.state()
    trainer.load_state(state | {"scale": {"value": 2.0**40, "good_steps": 0}})
    before = _flat(trainer.transformer).clone()
    losses = trainer.train_step(1)
    assert "norm" not in losses
    assert torch.equal(_flat(trainer.transformer), before)
    assert trainer.state()["scale"] == {"value": 2.0**39, "good_steps": 0}


def test_losses_fall_in_float16(tiny_v2: Path) -> None:
    trainer = _trainer(tiny_v2, precision="fp16")
    losses = [trainer.train_step(step)["loss"] for step in range(20)]
    assert losses[-1] < losses[0] - 0.3


def test_dropout_acts_in_training_only_and_depends_on_the_step(tiny_v2: Path) -> None:
    first, again, none = (_trainer(tiny_v2, dropout=p) for p in (0.3, 0.3, 0.0))
    dropped = first.train_step(0)["loss"]
    assert dropped == again.train_step(0)["loss"]
    assert dropped != none.train_step(0)["loss"]
    ids = torch.zeros(1, 4, dtype=torch.long)
    assert torch.equal(first.transformer(ids), first.transformer(ids))


def test_the_moving_average_follows_the_weights_and_survives_a_restart(tiny_v2: Path) -> None:
    trainer = _trainer(tiny_v2, ema=0.5)
    name = "to_logits.1.bias"
    expected = dict(trainer.transformer.named_parameters())[name].detach().clone()
    for step in range(3):
        trainer.train_step(step)
        expected.lerp_(dict(trainer.transformer.named_parameters())[name].detach(), 0.5)
    torch.testing.assert_close(trainer.weights()[name], expected)
    resumed = _trainer(tiny_v2, ema=0.5)
    resumed.load_state(trainer.state())
    torch.testing.assert_close(resumed.weights()[name], expected)
