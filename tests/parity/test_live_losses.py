"""The loss `reference` against `forward(return_loss=True)` of both packages: values and gradients."""

import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.files.checkpoint import load_rudolph
from model.network.transformer import Transformer
from tests.support import reference
from training.losses import REFERENCE_EMBEDDING_GRADIENT, mean_losses, plan_batch, summed_losses
from training.optimizer import OptimizerSettings
from training.sequences import LossWeights, RowBuilder, Rows
from training.transformer_trainer import TransformerTrainer, TransformerTraining

TEXTS = ("кот", "дом у реки", "синий круг на белом поле", "рыба")
GENERATIONS = ("tiny_v1", "tiny_v2")
KINDS = ("draw", "name", "unprompted", "text", "answer", "answer_text")
WEIGHTS = (
    LossWeights(1, 7, 1),
    LossWeights(0.01, 1, 7),
    LossWeights(1, 0.01, 7),
    LossWeights(0, 1, 0),
    LossWeights(2, 0, 0),
    LossWeights(0, 0, 3),
)


def _rows(kind: str, builder: RowBuilder, codes: Tensor, weights: LossWeights) -> Rows:
    match kind:
        case "draw":
            return builder.text_to_image(TEXTS, codes, weights)
        case "name":
            return builder.image_to_text(TEXTS, codes, weights)
        case "unprompted":
            return builder.unconditional(codes, weights)
        case "text":
            return builder.text_to_text(TEXTS, weights)
        case "answer":
            return builder.answer(TEXTS, TEXTS[::-1], codes, weights)
        case _:
            return replace(builder.answer(TEXTS, TEXTS[::-1], None, weights), weights=weights)


def _networks(folder: Path) -> tuple[Any, Transformer, RowBuilder]:
    rudolph = load_rudolph(folder, dtype="float32")
    config = rudolph.config
    package: types.ModuleType = reference.rudolph_v1() if config.generation == 1 else reference.rudolph_v2()
    theirs = reference.transformer(config, package=package, seed=3)
    ours = rudolph.transformer
    ours.load_state_dict(reference.weights(theirs), strict=True)
    ours.requires_grad_(True)
    return theirs, ours, RowBuilder(config, rudolph.text_tokenizer)


def _full_ids(config: ModelConfig, rows: Rows) -> Tensor:
    """The ids as the package takes them: the right text has its full length."""
    ids = rows.input_ids()
    if rows.right is None:
        return ids
    return torch.nn.functional.pad(ids, (0, config.total_length - ids.shape[1]))


def _reference_loss(theirs: Any, config: ModelConfig, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
    weights = rows.weights
    with reference.quiet():
        return theirs(
            _full_ids(config, rows),
            reference.causal_mask(theirs, len(rows.left)),
            return_loss=True,
            lt_loss_weight=weights.left,
            img_loss_weight=weights.image,
            rt_loss_weight=weights.right,
        )


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_the_reference_loss_and_its_gradient_are_those_of_the_package(
    generation: str, kind: str, weights: LossWeights, request: pytest.FixtureRequest
) -> None:
    theirs, ours, builder = _networks(request.getfixturevalue(generation))
    config = ours.config
    codes = torch.randint(config.image_codebook_size, (len(TEXTS), config.image_length))
    rows = _rows(kind, builder, codes, weights)
    present = {"left": weights.left, "image": rows.codes is not None and weights.image}
    present["right"] = rows.right is not None and weights.right
    if not any(present.values()):
        pytest.skip("the package divides by zero")
    expected, parts = _reference_loss(theirs, config, rows)
    expected.backward()

    (share,) = plan_batch(config, [rows], "reference").values()
    summed = summed_losses(ours, rows, "reference", embedding_gradient=REFERENCE_EMBEDDING_GRADIENT)
    loss = torch.stack([share.factor(targets) * value for targets, value in summed]).sum()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    names = {"left": "l_text_loss", "image": "image_loss", "right": "r_text_loss"}
    found = mean_losses(ours, rows, "reference")
    assert set(found) == {name for name, weight in present.items() if weight}
    for name, value in found.items():
        assert float(value.detach()) == pytest.approx(float(parts[names[name]]), rel=1e-5), name
    _assert_same_gradients(theirs, ours)


def _assert_same_gradients(theirs: Any, ours: Transformer) -> None:
    """Every parameter alike, not only the whole: a table with a tenth of the gradient would hide in it."""
    other = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = other[name].grad
        got = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        expected = expected if expected is not None else torch.zeros_like(parameter)
        size = float(expected.norm())
        assert float((got - expected).norm()) <= 1e-4 * size + 1e-7, name


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_step_of_the_trainer_moves_as_the_package_does(
    generation: str, request: pytest.FixtureRequest
) -> None:
    theirs, ours, builder = _networks(request.getfixturevalue(generation))
    config = ours.config
    codes = torch.randint(config.image_codebook_size, (len(TEXTS), config.image_length))
    rows = builder.image_to_text(TEXTS, codes, LossWeights(0.01, 1, 7))
    before = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    optimizer = OptimizerSettings(1e-3, warm_up_steps=0, schedule="constant", weight_decay=0.0)
    settings = TransformerTraining(10, optimizer, precision="fp32", objective="reference")
    trainer = TransformerTrainer(ours, lambda _step: [rows], settings)
    step = torch.optim.AdamW(theirs.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    loss, _ = _reference_loss(theirs, config, rows)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    step.step()
    assert trainer.train_step(0)["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    moved = torch.cat([(p.detach() - before[name]).flatten() for name, p in ours.named_parameters()])
    expected = torch.cat(
        [(dict(theirs.named_parameters())[name].detach() - old).flatten() for name, old in before.items()]
    )
    # The first step of Adam is nearly the sign of the gradient, so noise in tiny gradients shows.
    assert float(torch.nn.functional.cosine_similarity(moved, expected, dim=0)) >= 0.999
