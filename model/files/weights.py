"""Reads weight files into modules, strictly and safely.

Knows no folder layout and no config. PyTorch's restricted reader reads pickles, so no code of a file runs.
"""

import hashlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from model.files.pickles import DamagedFile, ForeignObjects, check_pickles, is_archive

MAX_NAMES_SHOWN = 5
HASH_BLOCK_BYTES = 1 << 22
REVISION_LENGTH = 12

MAX_SHOWN_CHARACTERS = 200
AGAIN = "Download it again, or save the state_dict of the model again."
"""The remedy for a file that cannot be read."""
FITTING = "Correct config.json or --preset, or use the weights that belong to it."
"""The remedy for tensors that do not fit."""

# The errors of PyTorch's readers on damaged files; the warning comes with a TorchScript archive.
_READING_ERRORS = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    UserWarning,
)


class CheckpointError(ValueError):
    """A checkpoint that is refused; the message names the file, and the tensor or field."""


def read_tensors(path: Path, *, wrapper_key: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a safetensors or PyTorch file, mapped from disk if the format allows it.

    wrapper_key: the entry of a PyTorch file that holds the tensors; None if they are at the top level.
    Raises CheckpointError if the file is missing or damaged, or holds code or anything but tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.name} is missing in {path.parent}. Download the checkpoint again.")
    if path.suffix == ".safetensors":
        try:
            return _bounded(safetensors.torch.load_file(path), path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path.name} is damaged: {str(error).rstrip('.')}. {AGAIN}") from error
    document = _read_pickle(path)
    if wrapper_key is not None:
        if not isinstance(document, dict) or wrapper_key not in document:
            raise CheckpointError(
                f"{path.name} has no entry {wrapper_key!r}. Use the file of an official image tokenizer."
            )
        document = document[wrapper_key]
    if not isinstance(document, Mapping):
        raise CheckpointError(f"{path.name} has no named tensors. {AGAIN}")
    for name, tensor in document.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{path.name} has an entry that is not a tensor: {repr(name)[:MAX_SHOWN_CHARACTERS]}. {AGAIN}"
            )
    return _bounded(dict(document), path)


def _bounded(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors. Raises CheckpointError if a copy of them needs more bytes than the file has."""
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if num_bytes > path.stat().st_size:
        raise CheckpointError(f"{path.name} is damaged: its tensors are larger than the file. {AGAIN}")
    return tensors


def assign(
    module: nn.Module,
    tensors: dict[str, Tensor],
    file_name: str,
    *,
    device: torch.device,
    dtype_of: Callable[[str], torch.dtype],
) -> None:
    """Assign weights to a module on the meta device, converted one by one; empty `tensors`.

    Raises CheckpointError for tensors that are missing, unknown, of another shape, not floating-point, or not
    finite in the target format. The message names all of them.
    """
    expected = module.state_dict()
    _check_fit(expected, tensors, file_name)
    converted: dict[str, Tensor] = {}
    for name in expected:
        # Popped, so that at most one tensor is in memory in both formats. Copied, so that a file that is
        # replaced on disk cannot change or crash a running server.
        source = tensors.pop(name)
        weight = source.to(device=device, dtype=dtype_of(name), copy=True)
        if not weight.is_meta and not _is_finite(weight):
            raise CheckpointError(
                f"{file_name} has values in {name} that are not finite in {weight.dtype}. "
                "Use float32, or another checkpoint."
            )
        converted[name] = weight
    module.load_state_dict(converted, strict=True, assign=True)
    module.requires_grad_(False).eval().to(device)


def _is_finite(weight: Tensor) -> bool:
    # NaN propagates into the extremes, which take a thirtieth of the time of isfinite on every value.
    low, high = weight.aminmax()
    return bool((low.isfinite() & high.isfinite()).item())


def hash_files(paths: Iterable[Path]) -> str:
    """Return a short SHA-256 of the content of files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()[:REVISION_LENGTH]


def _read_pickle(path: Path) -> Any:
    try:
        shells: list[Any] = [(_shell(name), name) for name in check_pickles(path)]
        with torch.serialization.safe_globals(shells):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive(path))
    except ForeignObjects as error:
        raise CheckpointError(
            f"{path.name} has Python objects besides tensors, and is not read. "
            "Save the state_dict alone, or convert the file to safetensors."
        ) from error
    except DamagedFile as error:
        raise CheckpointError(f"{path.name} is damaged or not a PyTorch file. {error} {AGAIN}") from error
    except (pickle.UnpicklingError, *_READING_ERRORS) as error:
        raise CheckpointError(f"{path.name} is damaged or not a PyTorch file. {AGAIN}") from error


def _shell(name: str) -> type:
    """An empty class that takes any arguments and keeps none."""

    def accept(self: object, *args: object, **fields: object) -> None:
        del self, args, fields

    return type(name.rpartition(".")[2], (), {"__init__": accept, "__setstate__": accept})


def _check_fit(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], file_name: str) -> None:
    missing = [name for name in expected if name not in tensors]
    unknown = [name for name in tensors if name not in expected]
    reshaped = [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    mistyped = [
        f"{name} is {tensors[name].dtype}"
        for name in expected
        if name in tensors and not tensors[name].is_floating_point()
    ]
    faults = [
        f"{title}: {_few(names)}."
        for title, names in (
            ("Missing", missing),
            ("Unknown", unknown),
            ("Other shape", reshaped),
            ("Not floating-point", mistyped),
        )
        if names
    ]
    if faults:
        raise CheckpointError(
            f"{file_name} does not fit the architecture. " + " ".join(faults) + f" {FITTING}"
        )


def _printable(text: str) -> str:
    """Return a text of a file as it may be printed: short, and without control characters."""
    is_plain = text.isprintable() and len(text) <= MAX_SHOWN_CHARACTERS
    return text if is_plain else f"{text[:MAX_SHOWN_CHARACTERS]!r}…"


def _few(names: list[str]) -> str:
    shown = ", ".join(_printable(name) for name in names[:MAX_NAMES_SHOWN])
    rest = len(names) - MAX_NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
