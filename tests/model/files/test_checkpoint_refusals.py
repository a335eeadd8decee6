"""Checkpoints that are not loaded, and what is said of them."""

import json
import os
import pickle

import pytest
import safetensors.torch
import torch

from model.files.checkpoint import CheckpointError, load_rudolph
from tests.model.checkpoint_folders import (
    TRANSFORMER,
    VQGAN,
    edit_config,
    edit_transformer,
    edit_vqgan,
    refusal,
    whole_vocabulary,
)


def test_missing_tensor_is_named(folder):
    edit_transformer(folder, lambda tensors: tensors.pop("transformer.layers.3.mlp.dense_h_to_4h.bias"))
    assert "Missing: transformer.layers.3.mlp.dense_h_to_4h.bias" in refusal(folder)


def test_unknown_tensor_is_named(folder):
    edit_transformer(folder, lambda tensors: tensors.update({"transformer.layers.8.extra": torch.ones(2)}))
    assert "Unknown: transformer.layers.8.extra" in refusal(folder)


def test_renamed_tensor_is_named_under_both_names(folder):
    def rename(tensors):
        tensors["image_row_embedding.weight"] = tensors.pop("image_row_embeddings.weight")

    edit_transformer(folder, rename)
    message = refusal(folder)
    assert "Missing: image_row_embeddings.weight" in message
    assert "Unknown: image_row_embedding.weight" in message


def test_tensor_of_another_shape_is_named_with_both_shapes(folder):
    edit_transformer(folder, lambda tensors: tensors.update({"to_logits.1.bias": torch.zeros(7)}))
    assert "to_logits.1.bias has shape (7,) instead of (264,)" in refusal(folder)


def test_all_misfits_are_counted_and_the_first_are_shown(folder):
    edit_config(folder, num_layers=9)
    message = refusal(folder)
    assert "Missing: transformer.layers.8.input_layernorm.weight" in message
    assert "and 11 more" in message


def test_integer_weights_are_refused(folder):
    edit_transformer(folder, lambda tensors: tensors.update({"to_logits.1.bias": torch.zeros(264).long()}))
    assert "to_logits.1.bias is torch.int64" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, value):
    edit_transformer(folder, lambda tensors: tensors["to_logits.1.bias"].fill_(value))
    assert "values in to_logits.1.bias that are not finite" in refusal(folder)


def test_weights_that_overflow_the_dtype_are_refused(folder):
    edit_transformer(folder, lambda tensors: tensors["to_logits.1.bias"].fill_(1e5))
    load_rudolph(folder, dtype="bfloat16")
    with pytest.raises(CheckpointError, match=r"not finite in torch\.float16"):
        load_rudolph(folder, dtype="float16")


def test_training_leftovers_are_not_ignored_in_the_transformer(folder):
    edit_transformer(folder, lambda tensors: tensors.update({"loss.weight": torch.ones(2)}))
    assert "Unknown: loss.weight" in refusal(folder)


def test_other_unknown_tensors_of_the_image_tokenizer_are_refused(folder):
    edit_vqgan(folder, lambda tensors: tensors.update({"losses.weight": torch.ones(2)}))
    assert "Unknown: losses.weight" in refusal(folder)


def test_plain_file_is_refused_where_the_config_says_wavelet(folder):
    vae = json.loads((folder / "config.json").read_text())["vae"]
    edit_config(folder, vae=vae | {"dwt": True})
    (folder / VQGAN).rename(folder / "vqgan.gumbelf8-sber-dwt.model.ckpt")
    assert "Missing: decoder.post_quant_conv.weight" in refusal(folder)


class Payload:
    """Would run a command when unpickled carelessly."""

    def __init__(self, marker) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.parametrize("name", [TRANSFORMER, VQGAN])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_never_run(folder, tmp_path, name, zipped):
    marker = tmp_path / "ran"
    document = {"state_dict": {"a": Payload(marker)}, "b": Payload(marker)}
    torch.save(document, folder / name, _use_new_zipfile_serialization=zipped)
    assert "has Python objects" in refusal(folder)
    assert not marker.exists()


def test_plain_pickle_is_refused_and_never_run(folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / TRANSFORMER).write_bytes(pickle.dumps(Payload(marker)))
    assert TRANSFORMER in refusal(folder)
    assert not marker.exists()


@pytest.mark.parametrize("name", [TRANSFORMER, VQGAN])
@pytest.mark.parametrize("kept", [0, 1, 1000, 0.5, 0.999])
def test_file_cut_short_is_refused(folder, name, kept):
    data = (folder / name).read_bytes()
    size = int(len(data) * kept) if isinstance(kept, float) else kept
    (folder / name).write_bytes(data[:size])
    assert f"{name} is damaged" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 7, 0.5, 0.999])
def test_safetensors_cut_short_are_refused(folder, kept):
    tensors = torch.load(folder / TRANSFORMER, weights_only=True)
    data = safetensors.torch.save(tensors)
    size = int(len(data) * kept) if isinstance(kept, float) else kept
    (folder / "model.safetensors").write_bytes(data[:size])
    assert "model.safetensors is damaged" in refusal(folder)


def test_file_without_tensors_is_refused(folder):
    torch.save([1, 2, 3], folder / TRANSFORMER)
    assert "has no named tensors" in refusal(folder)
    torch.save({"step": 3}, folder / TRANSFORMER)
    assert "not a tensor: 'step'" in refusal(folder)


def test_image_tokenizer_without_its_wrapper_is_refused(folder):
    torch.save(torch.load(folder / VQGAN, weights_only=True)["state_dict"], folder / VQGAN)
    assert "no entry 'state_dict'" in refusal(folder)


@pytest.mark.parametrize("name", [TRANSFORMER, VQGAN, "bpe.model"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    message = refusal(folder)
    assert name in message
    assert "missing" in message


def test_missing_folder_is_named(tmp_path):
    assert "is not a folder" in refusal(tmp_path / "absent")


def test_unknown_architecture_without_a_config_asks_for_the_preset(folder):
    (folder / "config.json").unlink()
    assert "fit no preset" in refusal(folder)


def test_unknown_preset_lists_the_known(folder):
    (folder / "config.json").unlink()
    assert "350M, 350M-v2, 1.3B" in refusal(folder, preset="350m")


def test_preset_must_agree_with_the_config(folder):
    assert "another architecture than preset 350M" in refusal(folder, preset="350M")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"num_layers": 1}', "\ufeff{}"])
def test_broken_config_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


def test_vocabulary_of_another_size_is_refused(folder):
    (folder / "bpe.model").write_text(whole_vocabulary())
    assert "16384 tokens, but the transformer needs 168" in refusal(folder)


def test_damaged_vocabulary_is_refused(folder):
    (folder / "bpe.model").write_text("3 4\n")
    assert "bpe.model is truncated" in refusal(folder)


def test_image_tokenizer_of_another_codebook_is_refused(folder):
    vae = json.loads((folder / "config.json").read_text())["vae"]
    edit_config(folder, vae=vae | {"n_embed": 128})
    assert "128 codes (vae.n_embed), but the transformer has 64" in refusal(folder)


def test_image_tokenizer_of_another_cell_size_is_refused(folder):
    vae = json.loads((folder / "config.json").read_text())["vae"]
    edit_config(folder, vae=vae | {"ch_mult": [1, 1, 2]})
    assert "cells of 4 pixels" in refusal(folder)


def test_impossible_image_tokenizer_is_refused(folder):
    vae = json.loads((folder / "config.json").read_text())["vae"]
    edit_config(folder, vae=vae | {"ch": 24})
    assert "num_groups" in refusal(folder)
