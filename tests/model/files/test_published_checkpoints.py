"""The official files, by the names, shapes and dtypes of their tensors."""

import json

import pytest
import torch

from model.config import PRESETS, VqganConfig
from model.files.checkpoint import load_rudolph
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer
from tests.model.checkpoint_folders import TRANSFORMER, VQGAN, refusal, whole_vocabulary


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
    monkeypatch.setattr("model.files.checkpoint.read_tensors", lambda path, **_: files[path.name])
    rudolph = load_rudolph(tmp_path, device="meta", preset=preset if preset == "2.7B" else None)
    assert rudolph.config == PRESETS[preset].config
    assert rudolph.image_tokenizer.config.dwt is (variant == "vqgan-dwt")
    assert rudolph.name == PRESETS[preset].repo_id.split("/")[1]


def test_shapes_that_fit_two_presets_ask_for_one(manifests, tmp_path, monkeypatch):
    manifest = json.loads((manifests / "2.7B.json").read_text())
    for name in (TRANSFORMER, VQGAN, "bpe.model"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr("model.files.checkpoint.read_tensors", lambda path, **_: on_meta(manifest))
    message = refusal(tmp_path, device="meta")
    assert "2.7B and 2.7B-FBC2" in message
    assert "--preset" in message
