"""Loads the published packages, the oracle of the parity tests, side by side and without what they drag in.

`.venv/reference/` holds them in folders of their own, since two versions of one name cannot both be
installed. They import old names of torchvision, transformers, matplotlib and the like at the top of their
files; stand-ins take their places while the packages load, and only what is really called has a body.
"""

import contextlib
import functools
import importlib
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from model.config import ModelConfig

HOW_TO_INSTALL = "sh scripts/install_reference.sh .venv/bin/python .venv/reference"


@functools.cache
def rudolph_v1() -> types.ModuleType:
    """The package of the first generation (0.0.1rc8), with `pipelines` and `model`."""
    return _load("rudolph-0.0.1rc8", "rudolph")


@functools.cache
def rudolph_v2() -> types.ModuleType:
    """The package of the second generation (0.0.1rc10), with `api` and `model`."""
    return _load("rudolph-0.0.1rc10", "rudolph")


@functools.cache
def rudalle() -> types.ModuleType:
    """The package with the tokenizers (1.1.3): `vae`, `tokenizer`, `image_prompts`."""
    return _load("shared", "rudalle")


def transformer(config: ModelConfig, *, package: types.ModuleType, seed: int) -> Any:
    """A reference network of this architecture in evaluation mode, with random weights (see `randomise`)."""
    special: dict[str, int] = {}
    if config.text_special_tokens or config.image_special_tokens:
        special = {
            "text_special_tokens": config.text_special_tokens,
            "image_special_tokens": config.image_special_tokens,
        }
    with quiet():
        network = package.model.ruDolphModel(
            device="cpu",
            num_layers=config.num_layers,
            hidden_size=config.hidden_size,
            num_attention_heads=config.num_heads,
            embedding_dropout_prob=0.1,
            output_dropout_prob=0.1,
            attention_dropout_prob=0.1,
            l_text_seq_length=config.left_text_length,
            image_tokens_per_dim=config.image_width,
            r_text_seq_length=config.right_text_length,
            kernel_size=config.kernel_size,
            last_kernel_size=config.last_kernel_size,
            cogview_sandwich_layernorm=True,
            cogview_pb_relax=True,
            vocab_size=config.bpe_vocab_size + config.left_text_length,
            image_vocab_size=config.image_codebook_size,
            **special,
        )
    randomise(network, seed)
    return network.eval()


def randomise(network: torch.nn.Module, seed: int) -> None:
    """Weights large enough for attention that chooses and logits that differ; the same for one seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            draw = torch.randn(weight.shape, generator=generator)
            if "layernorm" in name or name.startswith("to_logits.0"):
                draw = 1 + 0.2 * draw if name.endswith("weight") else 0.2 * draw
            elif name.endswith("bias"):
                draw = 0.2 * draw
            elif "embeddings" not in name:
                draw = draw * 1.5 / weight.shape[1] ** 0.5
            weight.copy_(draw)


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    """The state dict of a reference network without its mask buffers."""
    return {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("_mask")}


def logits(network: Any, input_ids: Tensor) -> Tensor:
    """The reference's logits of whole sequences, without its cache."""
    with torch.no_grad(), quiet():
        return network(input_ids, causal_mask(network, len(input_ids)))[0]


def causal_mask(network: Any, rows: int) -> Tensor:
    """The mask that the reference's tasks pass in; the layers multiply their own into it."""
    size = network.l_text_seq_length + network.image_seq_length + network.r_text_seq_length
    return torch.tril(torch.ones((rows, 1, size, size)))


def top_k_top_p_filtering(scores: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """The filter that transformers 4 shipped under this name (top-k, then nucleus), written anew."""
    if top_k > 0:
        kth = scores.topk(min(top_k, scores.shape[-1])).values[..., -1:]
        scores = scores.masked_fill(scores < kth, -torch.inf)
    if top_p < 1:
        ranked, order = scores.sort(dim=-1, descending=True, stable=True)
        crossed = ranked.softmax(dim=-1).cumsum(dim=-1) > top_p
        dropped = torch.zeros_like(crossed)
        dropped[..., 1:] = crossed[..., :-1]
        scores = scores.masked_fill(torch.zeros_like(dropped).scatter(-1, order, dropped), -torch.inf)
    return scores


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The reference's own deprecation warnings are none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ---- loading -----------------------------------------------------------------------------------------------


def _load(folder: str, package: str) -> types.ModuleType:
    path = Path(sys.prefix) / "reference" / folder
    if not (path / package).is_dir():
        message = f"the reference packages are not installed; run: {HOW_TO_INSTALL}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    search = [str(path), str(path.parent / "shared")]
    with quiet(), _borrowed_modules(("rudolph", "rudalle", "taming"), _stand_ins(), search):
        return importlib.import_module(package)


@contextlib.contextmanager
def _borrowed_modules(fresh: Sequence[str], stand_ins: dict[str, Any], search: list[str]) -> Iterator[None]:
    """Imports inside see the stand-ins and new copies of the packages `fresh`; nothing is left behind."""
    roots = {*fresh, *(name.split(".")[0] for name in stand_ins)}

    def concerned() -> list[str]:
        return [name for name in sys.modules if name.split(".")[0] in roots]

    before = {name: sys.modules.pop(name) for name in concerned()}
    sys.modules.update(stand_ins)
    sys.path[:0] = search
    try:
        yield
    finally:
        del sys.path[: len(search)]
        for name in concerned():
            del sys.modules[name]
        sys.modules.update(before)


class _StandIn(types.ModuleType):
    """A module that has every name; what has no body may be subclassed, and raises when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: object, **__: object) -> None:
            raise NotImplementedError(f"{self.__name__}.{name} is a stand-in without a body")

        return type(name, (), {"__init__": refuse})


def _stand_ins() -> dict[str, Any]:
    names = (
        "huggingface_hub",
        "matplotlib",
        "matplotlib.pyplot",
        "pytorch_lightning",
        "pytorch_lightning.callbacks",
        "pytorch_lightning.trainer",
        "pytorch_lightning.utilities",
        "pytorch_lightning.utilities.distributed",
        "pywt",
        "requests",
        "torchvision",
        "torchvision.transforms",
        "torchvision.transforms.functional",
        "transformers",
    )
    modules: dict[str, Any] = {name: _StandIn(name) for name in names}
    for name, module in modules.items():
        module.__path__ = []
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(modules[parent], own, module)
    modules["transformers"].top_k_top_p_filtering = top_k_top_p_filtering
    transforms = modules["torchvision.transforms"]
    transforms.Compose = Compose
    transforms.Lambda = _identity
    transforms.RandomResizedCrop = ResizedCrop
    transforms.ToTensor = ToTensor
    modules["torchvision.transforms.functional"].to_pil_image = _to_picture
    return modules


class Compose:
    """Steps one after another."""

    def __init__(self, steps: list[Callable[[Any], Any]]) -> None:
        self.steps = steps

    def __call__(self, picture: Any) -> Any:
        for step in self.steps:
            picture = step(picture)
        return picture


class ResizedCrop:
    """What RandomResizedCrop does with scale and ratio fixed at 1: the largest centred square, bilinear."""

    def __init__(self, size: int, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
        assert scale == ratio == (1.0, 1.0)
        self.size = size

    def __call__(self, picture: Image.Image) -> Image.Image:
        width, height = picture.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        return square.resize((self.size, self.size), Image.Resampling.BILINEAR)


class ToTensor:
    """Picture → float32 in [0, 1], shape = (channels, height, width)."""

    def __call__(self, picture: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _identity(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return function


def _to_picture(pixels: Tensor) -> Image.Image:
    """float in [0, 1], shape = (channels, height, width) → picture; bytes by truncation."""
    return Image.fromarray((pixels * 255).byte().permute(1, 2, 0).numpy())
