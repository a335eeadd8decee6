"""Checkpoint folders that a test may change, and what is said when they are refused."""

import json

import pytest
import torch

from model.files.checkpoint import CheckpointError, load_rudolph

TRANSFORMER = "pytorch_model.bin"
VQGAN = "vqgan.gumbelf8-sber.model.ckpt"


def edit_transformer(folder, change):
    tensors = torch.load(folder / TRANSFORMER, weights_only=True)
    change(tensors)
    torch.save(tensors, folder / TRANSFORMER)


def edit_vqgan(folder, change):
    document = torch.load(folder / VQGAN, weights_only=True)
    change(document["state_dict"])
    torch.save(document, folder / VQGAN)


def edit_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refusal(folder, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_rudolph(folder, dtype="float32", **options)
    message = str(caught.value)
    assert message.endswith("."), f"an error is a sentence: {message}"
    return message


def whole_vocabulary() -> str:
    """A vocabulary of the published size."""
    characters = [f"{9601 if index == 0 else 20_000 + index} {4 + index}" for index in range(16_380)]
    return "\n".join(["16380 0", *characters, "1 0 2 3"]) + "\n"
