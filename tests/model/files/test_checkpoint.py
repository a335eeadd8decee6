"""Checkpoints in the official file layout: what loads, and what is written."""

import dataclasses
import json
import sys
import types

import pytest
import torch
from safetensors.torch import load_file

from model.backends.precision import choose_decoder_dtype
from model.config import VqganConfig
from model.files.checkpoint import load_rudolph, save_checkpoint
from model.image_tokenizer import ImageTokenizer
from tests.model.checkpoint_folders import TRANSFORMER, VQGAN, edit_config, edit_transformer, edit_vqgan


@pytest.mark.parametrize("fixture", ["tiny_v1", "tiny_v2"])
def test_official_folder_gives_the_references_logits(fixture, request):
    folder = request.getfixturevalue(fixture)
    rudolph = load_rudolph(folder, dtype="float32")
    expected = load_file(folder / "expected.safetensors")
    logits = rudolph.transformer(expected["forward.input_ids"])
    torch.testing.assert_close(logits, expected["forward.logits"], rtol=1e-4, atol=1e-4)
    assert torch.equal(rudolph.image_tokenizer.encode(expected["vae.pixels_in"]), expected["vae.codes"])
    assert (rudolph.input_side, rudolph.output_side, rudolph.name) == (32, 32, folder.name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_encoder_stays_in_float32_and_the_rest_follows_the_request(tiny_v2, dtype):
    rudolph = load_rudolph(tiny_v2, dtype=dtype)
    decoder_dtype = choose_decoder_dtype(torch.device("cpu"), rudolph.dtype)
    assert {weight.dtype for weight in rudolph.transformer.parameters()} == {getattr(torch, dtype)}
    assert rudolph.dtype is getattr(torch, dtype)
    tokenizer = rudolph.image_tokenizer
    assert {weight.dtype for weight in tokenizer.encoder.parameters()} == {torch.float32}
    assert {weight.dtype for weight in tokenizer.decoder.parameters()} == {decoder_dtype}
    expected = load_file(tiny_v2 / "expected.safetensors")
    assert torch.equal(tokenizer.encode(expected["vae.pixels_in"]), expected["vae.codes"])
    difference = tokenizer.decode(expected["vae.codes"]) - expected["vae.decoded"]
    assert float(difference.abs().mean()) < (1e-4 if decoder_dtype is torch.float32 else 0.02)


def test_loaded_weights_are_for_serving(tiny_v2):
    rudolph = load_rudolph(tiny_v2)
    weights = [*rudolph.transformer.parameters(), *rudolph.image_tokenizer.parameters()]
    assert not any(weight.requires_grad for weight in weights)
    assert not rudolph.transformer.training
    assert not rudolph.image_tokenizer.training


def test_loaded_weights_outlive_the_file(folder):
    rudolph = load_rudolph(folder, dtype="float32")
    before = rudolph.transformer.image_embeddings.weight.clone()
    with (folder / TRANSFORMER).open("r+b") as file:
        file.write(bytes((folder / TRANSFORMER).stat().st_size))
    assert torch.equal(rudolph.transformer.image_embeddings.weight, before)


def test_mask_buffers_may_be_absent(folder):
    def without_masks(tensors):
        for name in [name for name in tensors if name.endswith("_mask")]:
            del tensors[name]

    edit_transformer(folder, without_masks)
    assert load_rudolph(folder).config.num_layers == 8


def test_leftovers_of_a_training_run_are_ignored_in_the_plain_image_tokenizer(folder):
    edit_vqgan(folder, lambda tensors: tensors.update({"loss.discriminator.main.0.weight": torch.ones(3)}))
    assert load_rudolph(folder).image_tokenizer.config.codebook_size == 64


def test_bookkeeping_objects_of_a_training_run_are_read_as_empty_shells(folder, monkeypatch):
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")

    class ModelCheckpoint:
        pass

    ModelCheckpoint.__module__ = module.__name__
    ModelCheckpoint.__qualname__ = "ModelCheckpoint"
    module.ModelCheckpoint = ModelCheckpoint
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
        patch.setitem(sys.modules, "pytorch_lightning.callbacks", types.ModuleType("callbacks"))
        patch.setitem(sys.modules, module.__name__, module)
        document = torch.load(folder / VQGAN, weights_only=True)
        document["callbacks"] = {ModelCheckpoint: {"best": 1}, "one": ModelCheckpoint()}
        torch.save(document, folder / VQGAN)
    assert load_rudolph(folder).image_tokenizer.config.codebook_size == 64


def test_files_of_the_old_pytorch_format_load(folder):
    tensors = torch.load(folder / TRANSFORMER, weights_only=True)
    torch.save(tensors, folder / TRANSFORMER, _use_new_zipfile_serialization=False)
    assert load_rudolph(folder).config.num_layers == 8


@pytest.mark.parametrize("dwt", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_saved_folder_loads_equal(tiny_v2, tmp_path, dwt, dtype):
    rudolph = load_rudolph(tiny_v2, dtype="float32")
    torch.manual_seed(0)
    image_tokenizer = ImageTokenizer(dataclasses.replace(rudolph.image_tokenizer.config, dwt=dwt)).eval()
    save_checkpoint(
        tmp_path / "saved",
        transformer=rudolph.transformer,
        image_tokenizer=image_tokenizer,
        vocabulary=tiny_v2 / "bpe.model",
        name="маленький",
        tasks=frozenset({"answer"}),
        dtype=dtype,
    )
    again = load_rudolph(tmp_path / "saved", dtype="float32")
    assert (again.name, again.tasks, again.config) == ("маленький", {"answer"}, rudolph.config)
    assert again.output_side == (64 if dwt else 32)
    pairs = [
        *zip(rudolph.transformer.parameters(), again.transformer.parameters(), strict=True),
        *zip(image_tokenizer.parameters(), again.image_tokenizer.parameters(), strict=True),
    ]
    for saved, loaded in pairs:
        assert torch.equal(loaded, saved if dtype is None else saved.to(dtype).float())
    files = list((tmp_path / "saved").iterdir())
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in files), "a container serves as another user"
    names = sorted(path.name for path in files)
    assert names == ["bpe.model", "config.json", "model.safetensors", "vqgan.safetensors"]


def test_saved_wavelet_file_keeps_the_official_names(tiny_v2, tmp_path):
    rudolph = load_rudolph(tiny_v2)
    image_tokenizer = ImageTokenizer(dataclasses.replace(rudolph.image_tokenizer.config, dwt=True))
    save_checkpoint(
        tmp_path,
        transformer=rudolph.transformer,
        image_tokenizer=image_tokenizer,
        vocabulary=tiny_v2 / "bpe.model",
    )
    assert "model.decoder.idwt.g0_col" in load_file(tmp_path / "vqgan.safetensors")


def test_official_wavelet_file_is_found_by_its_name(folder):
    torch.manual_seed(0)
    config = VqganConfig(64, 32, 32, 32, 32, (1, 1, 1, 2), 1, (4,), dwt=True)
    tensors = {f"model.{name}": tensor for name, tensor in ImageTokenizer(config).state_dict().items()}
    torch.save({"state_dict": tensors}, folder / "vqgan.gumbelf8-sber-dwt.model.ckpt")
    vae = json.loads((folder / "config.json").read_text())["vae"]
    edit_config(folder, vae=vae | {"dwt": True})
    assert load_rudolph(folder).output_side == 64


def test_revision_tells_weights_apart_and_nothing_else(folder, tiny_v2):
    first = load_rudolph(folder, dtype="float32").revision
    assert first == load_rudolph(tiny_v2, dtype="bfloat16").revision
    edit_transformer(folder, lambda tensors: tensors["image_embeddings.weight"][0].add_(1))
    assert load_rudolph(folder).revision != first


def test_answering_is_claimed_by_the_config_alone(folder):
    assert load_rudolph(folder).tasks == frozenset()
    edit_config(folder, tasks=["answer"])
    assert load_rudolph(folder).tasks == {"answer"}
