import dataclasses
import json
import os
import pickle
import shutil
import sys
import types

import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file

from model.checkpoint import (
    CheckpointError,
    load_rudolph,
    save_checkpoint,
)
from model.config import PRESETS, VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.transformer import Transformer

TRANSFORMER = "pytorch_model.bin"
VQGAN = "vqgan.gumbelf8-sber.model.ckpt"


@pytest.fixture
def folder(tiny_v2, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_v2, tmp_path / "checkpoint")


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
    return str(caught.value)


# ---- what loads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["tiny_v1", "tiny_v2"])
def test_official_folder_gives_the_references_logits(fixture, request):
    folder = request.getfixturevalue(fixture)
    rudolph = load_rudolph(folder, dtype="float32")
    expected = load_file(folder / "expected.safetensors")
    logits = rudolph.transformer(expected["forward.input_ids"])
    torch.testing.assert_close(logits, expected["forward.logits"], rtol=1e-4, atol=1e-4)
    assert torch.equal(rudolph.image_tokenizer.encode(expected["vae.pixels_in"]), expected["vae.codes"])
    assert (rudolph.input_side, rudolph.output_side, rudolph.name) == (32, 32, folder.name)


@pytest.mark.parametrize(
    ("dtype", "decoder_dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float32)],
)
def test_encoder_stays_in_float32_and_the_rest_follows_the_request(tiny_v2, dtype, decoder_dtype):
    rudolph = load_rudolph(tiny_v2, dtype=dtype)
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
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
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


# ---- the published files -----------------------------------------------------------------------------------


def on_meta(manifest) -> dict[str, torch.Tensor]:
    return {
        name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for name, (shape, dtype) in manifest["tensors"].items()
    }


@pytest.mark.parametrize("preset", ["350M", "350M-v2", "1.3B", "2.7B"])
def test_published_transformers_have_exactly_these_tensors(manifests, preset):
    manifest = json.loads((manifests / f"{preset}.json").read_text())
    with torch.device("meta"):
        transformer = Transformer(PRESETS[preset].config)
    tensors = {name: tensor for name, tensor in on_meta(manifest).items() if not name.endswith("_mask")}
    assert {name: weight.shape for name, weight in transformer.named_parameters()} == {
        name: tensor.shape for name, tensor in tensors.items()
    }
    assert {weight.dtype for weight in transformer.parameters()} == {torch.float32}
    assert sum(weight.numel() for weight in transformer.parameters()) == manifest["num_parameters"]


@pytest.mark.parametrize("dwt", [False, True])
def test_published_image_tokenizers_have_exactly_these_tensors(manifests, dwt):
    manifest = json.loads((manifests / f"vqgan{'-dwt' if dwt else ''}.json").read_text())
    with torch.device("meta"):
        image_tokenizer = ImageTokenizer(VqganConfig(dwt=dwt))
    prefix = "model." if dwt else ""
    expected = {prefix + name: tensor.shape for name, tensor in image_tokenizer.state_dict().items()}
    assert expected == {name: tensor.shape for name, tensor in on_meta(manifest).items()}
    assert sum(weight.numel() for weight in image_tokenizer.parameters()) == manifest["num_parameters"]


@pytest.mark.parametrize("preset", ["350M", "350M-v2", "1.3B", "2.7B"])
@pytest.mark.parametrize("variant", ["vqgan", "vqgan-dwt"])
def test_published_folder_without_a_config_loads_on_the_meta_device(
    manifests, tmp_path, monkeypatch, preset, variant
):
    transformer = json.loads((manifests / f"{preset}.json").read_text())
    vqgan = json.loads((manifests / f"{variant}.json").read_text())
    (tmp_path / transformer["filename"]).write_bytes(b"transformer")
    (tmp_path / vqgan["file"]).write_bytes(b"vqgan")
    (tmp_path / "bpe.model").write_text(whole_vocabulary())
    # The files are too large to write here; everything after reading them is real.
    files = {transformer["filename"]: on_meta(transformer), vqgan["file"]: on_meta(vqgan)}
    monkeypatch.setattr("model.checkpoint.read_tensors", lambda path, wrapper_key=None: files[path.name])
    rudolph = load_rudolph(tmp_path, device="meta", preset=preset if preset == "2.7B" else None)
    assert rudolph.config == PRESETS[preset].config
    assert rudolph.image_tokenizer.config.dwt is (variant == "vqgan-dwt")
    assert rudolph.name == PRESETS[preset].repo_id.split("/")[1]


def whole_vocabulary() -> str:
    """A vocabulary of the published size."""
    characters = [f"{9601 if index == 0 else 20_000 + index} {4 + index}" for index in range(16_380)]
    return "\n".join(["16380 0", *characters, "1 0 2 3"]) + "\n"


def test_shapes_that_fit_two_presets_ask_for_one(manifests, tmp_path, monkeypatch):
    manifest = json.loads((manifests / "2.7B.json").read_text())
    for name in (TRANSFORMER, VQGAN, "bpe.model"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr("model.checkpoint.read_tensors", lambda path, wrapper_key=None: on_meta(manifest))
    message = refusal(tmp_path, device="meta")
    assert "2.7B and 2.7B-FBC2" in message
    assert "--preset" in message


# ---- what is refused ---------------------------------------------------------------------------------------


def test_missing_tensor_is_named(folder):
    edit_transformer(folder, lambda tensors: tensors.pop("transformer.layers.3.mlp.dense_h_to_4h.bias"))
    assert "missing: transformer.layers.3.mlp.dense_h_to_4h.bias" in refusal(folder)


def test_unknown_tensor_is_named(folder):
    edit_transformer(folder, lambda tensors: tensors.update({"transformer.layers.8.extra": torch.ones(2)}))
    assert "unknown: transformer.layers.8.extra" in refusal(folder)


def test_renamed_tensor_is_named_under_both_names(folder):
    def rename(tensors):
        tensors["image_row_embedding.weight"] = tensors.pop("image_row_embeddings.weight")

    edit_transformer(folder, rename)
    message = refusal(folder)
    assert "missing: image_row_embeddings.weight" in message
    assert "unknown: image_row_embedding.weight" in message


def test_tensor_of_another_shape_is_named_with_both_shapes(folder):
    edit_transformer(folder, lambda tensors: tensors.update({"to_logits.1.bias": torch.zeros(7)}))
    assert "to_logits.1.bias has shape (7,) instead of (264,)" in refusal(folder)


def test_all_misfits_are_counted_and_the_first_are_shown(folder):
    edit_config(folder, num_layers=9)
    message = refusal(folder)
    assert "missing: transformer.layers.8.input_layernorm.weight" in message
    assert "and 11 more" in message


def test_integer_weights_are_refused(folder):
    edit_transformer(folder, lambda tensors: tensors.update({"to_logits.1.bias": torch.zeros(264).long()}))
    assert "to_logits.1.bias is torch.int64" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, value):
    edit_transformer(folder, lambda tensors: tensors["to_logits.1.bias"].fill_(value))
    assert "to_logits.1.bias holds values that are not finite" in refusal(folder)


def test_weights_that_overflow_the_dtype_are_refused(folder):
    edit_transformer(folder, lambda tensors: tensors["to_logits.1.bias"].fill_(1e5))
    load_rudolph(folder, dtype="bfloat16")
    with pytest.raises(CheckpointError, match=r"not finite in torch\.float16"):
        load_rudolph(folder, dtype="float16")


def test_training_leftovers_are_not_ignored_in_the_transformer(folder):
    edit_transformer(folder, lambda tensors: tensors.update({"loss.weight": torch.ones(2)}))
    assert "unknown: loss.weight" in refusal(folder)


def test_other_unknown_tensors_of_the_image_tokenizer_are_refused(folder):
    edit_vqgan(folder, lambda tensors: tensors.update({"losses.weight": torch.ones(2)}))
    assert "unknown: losses.weight" in refusal(folder)


def test_plain_file_is_refused_where_the_config_says_wavelet(folder):
    vae = json.loads((folder / "config.json").read_text())["vae"]
    edit_config(folder, vae=vae | {"dwt": True})
    (folder / VQGAN).rename(folder / "vqgan.gumbelf8-sber-dwt.model.ckpt")
    assert "missing: decoder.post_quant_conv.weight" in refusal(folder)


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
    assert "holds Python objects" in refusal(folder)
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
    assert "holds no named tensors" in refusal(folder)
    torch.save({"step": 3}, folder / TRANSFORMER)
    assert "'step' is no tensor" in refusal(folder)


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
    assert "no checkpoint folder" in refusal(tmp_path / "absent")


def test_unknown_architecture_without_a_config_asks_for_the_preset(folder):
    (folder / "config.json").unlink()
    assert "fit no published preset" in refusal(folder)


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
    assert "16384 tokens, the transformer expects 168" in refusal(folder)


def test_damaged_vocabulary_is_refused(folder):
    (folder / "bpe.model").write_text("3 4\n")
    assert "bpe.model is cut short" in refusal(folder)


def test_image_tokenizer_of_another_codebook_is_refused(folder):
    vae = json.loads((folder / "config.json").read_text())["vae"]
    edit_config(folder, vae=vae | {"n_embed": 128})
    assert "128 codes (vae.n_embed), the transformer 64" in refusal(folder)


def test_image_tokenizer_of_another_cell_size_is_refused(folder):
    vae = json.loads((folder / "config.json").read_text())["vae"]
    edit_config(folder, vae=vae | {"ch_mult": [1, 1, 2]})
    assert "cells of 4 pixels" in refusal(folder)


def test_impossible_image_tokenizer_is_refused(folder):
    vae = json.loads((folder / "config.json").read_text())["vae"]
    edit_config(folder, vae=vae | {"ch": 24})
    assert "num_groups" in refusal(folder)
