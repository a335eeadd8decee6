"""Writes the checkpoint of a run, at its end or from any saved state."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.files.checkpoint import save_checkpoint
from training.generation import write_generation_config
from training.initialization import FreshSizes, Start, from_checkpoint, from_scratch
from training.lora import add_adapters, merge_adapters
from training.model_card import write_model_card
from training.run_folder import BEST_FILE, STATE_FILE, read_run
from training.state import load_state
from training.transformer_trainer import load_trained


@dataclass(frozen=True)
class CheckpointText:
    """What a checkpoint says of itself."""

    tasks: frozenset[str]
    name: str | None
    examples: Mapping[str, list[dict[str, Any]]]
    """Requests by task, as examples for the playground."""
    data: str
    """The data, in words."""
    details: Mapping[str, Any]
    """Settings and results of the training."""


def saved_weights(work: Path, *, best: bool) -> tuple[int, dict[str, Tensor]]:
    """Return the step and the weights of the best measurement, or of the last state.

    Raises ValueError if the run has no such state.
    """
    path = work / (BEST_FILE if best else STATE_FILE)
    state = load_state(path)
    if state is None:
        hint = "The run had no validation (--validate)." if best else "The run has not saved a state yet."
        raise ValueError(f"{path} does not exist. {hint}")
    if best:
        return int(state["step"]), state["weights"]
    trainer = state["trainer"]
    return int(state["step"]), {**trainer["transformer"], **trainer.get("average", {})}


def write_checkpoint(
    output: Path, start: Start, weights: dict[str, Tensor], lora_rank: int, text: CheckpointText
) -> None:
    """Write a checkpoint folder: the start with the trained weights, in float16. Changes `start`."""
    transformer = start.transformer.cpu().requires_grad_(False)
    if lora_rank:
        add_adapters(transformer, lora_rank)
    load_trained(transformer, weights)
    if lora_rank:
        merge_adapters(transformer)
    save_checkpoint(
        output,
        transformer=transformer,
        image_tokenizer=start.image_tokenizer.cpu(),
        vocabulary=start.vocabulary,
        name=text.name or start.name,
        tasks=start.tasks | text.tasks,
        dtype=torch.float16,
    )
    write_generation_config(output, start.vocabulary.parent, text.examples)
    write_model_card(output, text.data, dict(text.details))


def export_run(run: Path, output: Path, *, best: bool) -> int:
    """Write the checkpoint of a run from a saved state; return its step.

    run: output folder of `rudolph train`. Raises ValueError if it has no state.
    """
    work = run / "training"
    step, weights = saved_weights(work, best=best)
    described = read_run(work)
    recipe, settings = described["recipe"], described["settings"]
    if "init" in recipe:
        start = from_checkpoint(Path(recipe["init"]), recipe["preset"])
    else:
        sizes = FreshSizes(**recipe["sizes"])
        # The vocabulary of the run is in its folder already.
        start = from_scratch(Path(recipe["image_tokenizer"]), sizes, (), work, recipe["seed"])
    if start.identity != described["start"]:
        raise ValueError(f"The run started from other weights than {recipe}. Restore them to export it.")
    text = CheckpointText(
        frozenset(described["served_tasks"]),
        described["name"],
        described["examples"],
        described["data"],
        {"transformer": settings, "step": step, **described["details"]},
    )
    write_checkpoint(output, start, weights, settings["lora_rank"], text)
    return step
