"""Loads the published `rudolph` and `rudalle` packages: baseline of benchmarks, oracle of parity tests.

`scripts/install_reference.sh` installs each version in its own folder, because two versions of one name
cannot share an environment. The packages import old names of torchvision, transformers, matplotlib and others
at the top of their files. Stub modules replace these while a package loads. A stub has a body only for names
that the packages call.
"""

import contextlib
import functools
import importlib
import sys
import types
import warnings
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.config import ModelConfig

HOW_TO_INSTALL = "sh scripts/install_reference.sh .venv/bin/python .venv/reference"


class PackagesMissingError(RuntimeError):
    """The published packages are not installed; the message says how to install them."""


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
    """Return the package's network of this architecture in evaluation mode, with random weights."""
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
    """Fill a network with weights from a seed: attention is not uniform, and logits differ."""
    device = next(network.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            draw = torch.randn(weight.shape, generator=generator, device=device)
            if "layernorm" in name or name.startswith("to_logits.0"):
                draw = 1 + 0.2 * draw if name.endswith("weight") else 0.2 * draw
            elif name.endswith("bias"):
                draw = 0.2 * draw
            elif "embeddings" not in name:
                draw = draw * 1.5 / weight.shape[1] ** 0.5
            weight.copy_(draw)


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a package's network without its mask buffers."""
    return {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("_mask")}


def logits(network: Any, input_ids: Tensor) -> Tensor:
    """Return the package's logits of whole sequences, computed without its cache."""
    with torch.no_grad(), quiet():
        return network(input_ids, causal_mask(network, len(input_ids)))[0]


def causal_mask(network: Any, rows: int) -> Tensor:
    """Return the mask that the package's tasks pass in; each layer multiplies its own mask into it."""
    size = network.l_text_seq_length + network.image_seq_length + network.r_text_seq_length
    return torch.tril(torch.ones((rows, 1, size, size)))


def top_k_top_p_filtering(scores: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Apply top-k, then nucleus filtering, as the function of this name in transformers 4 does."""
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
def quiet() -> Generator[None]:
    """Silence the deprecation warnings of the packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ---- loading -----------------------------------------------------------------------------------------------


def _load(folder: str, package: str) -> types.ModuleType:
    path = Path(sys.prefix) / "reference" / folder
    if not (path / package).is_dir():
        raise PackagesMissingError(f"The published packages are not installed. Run: {HOW_TO_INSTALL}")
    search = [str(path), str(path.parent / "shared")]
    with quiet(), _replaced_modules(("rudolph", "rudalle", "taming"), _stub_modules(), search):
        return importlib.import_module(package)


@contextlib.contextmanager
def _replaced_modules(fresh: Sequence[str], stubs: dict[str, Any], search: list[str]) -> Generator[None]:
    """Import stubs and new copies of the packages `fresh` inside the block; restore all modules after it."""
    roots = {*fresh, *(name.split(".")[0] for name in stubs)}

    def concerned() -> list[str]:
        return [name for name in sys.modules if name.split(".")[0] in roots]

    before = {name: sys.modules.pop(name) for name in concerned()}
    sys.modules.update(stubs)
    sys.path[:0] = search
    try:
        yield
    finally:
        del sys.path[: len(search)]
        for name in concerned():
            del sys.modules[name]
        sys.modules.update(before)


class _StubModule(types.ModuleType):
    """A module that has every name. A name without a body can be subclassed, and raises when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: object, **__: object) -> None:
            raise NotImplementedError(f"{self.__name__}.{name} is a stub without a body")

        return type(name, (), {"__init__": refuse})


def _stub_modules() -> dict[str, Any]:
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
    modules: dict[str, Any] = {name: _StubModule(name) for name in names}
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
    modules["torchvision.transforms.functional"].to_pil_image = _to_image
    return modules


class Compose:
    """Applies steps in order."""

    def __init__(self, steps: list[Callable[[Any], Any]]) -> None:
        self.steps = steps

    def __call__(self, image: Any) -> Any:
        for step in self.steps:
            image = step(image)
        return image


class ResizedCrop:
    """Crops the largest centred square and resizes it, as RandomResizedCrop does with scale and ratio 1."""

    def __init__(self, size: int, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
        assert scale == ratio == (1.0, 1.0)
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        return square.resize((self.size, self.size), Image.Resampling.BILINEAR)


class ToTensor:
    """Converts an image to float32 in [0, 1], shape = (channels, height, width)."""

    def __call__(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _identity(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return function


def _to_image(pixels: Tensor) -> Image.Image:
    """Convert float in [0, 1], shape = (channels, height, width), to an image of truncated bytes."""
    return Image.fromarray((pixels * 255).byte().permute(1, 2, 0).numpy())
