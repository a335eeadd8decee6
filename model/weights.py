"""Weight files to modules, strictly and safely.

Knows file formats and tensor names; knows no folder layout and no config. A pickle is read by PyTorch's
restricted reader: nothing in a file is ever run.
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

MAX_NAMES_SHOWN = 5
HASH_BLOCK_BYTES = 1 << 22
REVISION_LENGTH = 12

# A file from a training run carries its bookkeeping; objects of these packages are read as empty shells.
BOOKKEEPING_PACKAGES = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.", "numpy.")

ZIP_MAGIC = b"PK\x03\x04"
# What PyTorch's readers raise on damaged files; the warning is a TorchScript archive's.
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
    """Tensors of a safetensors or PyTorch file, mapped from disk where the format allows it.

    wrapper_key: the entry of a PyTorch file that holds the tensors; None where they stand at the top.
    Raises CheckpointError for a file that is missing, damaged, holds code or anything but tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.name} is missing in {path.parent}")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path.name} is damaged: {error}") from error
    document = _read_pickle(path)
    if wrapper_key is not None:
        if not isinstance(document, dict) or wrapper_key not in document:
            raise CheckpointError(f"{path.name} has no entry {wrapper_key!r}")
        document = document[wrapper_key]
    if not isinstance(document, Mapping):
        raise CheckpointError(f"{path.name} holds no named tensors")
    for name, tensor in document.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path.name}: {name!r} is no tensor")
    return dict(document)


def assign(
    module: nn.Module,
    tensors: dict[str, Tensor],
    file_name: str,
    *,
    device: torch.device,
    dtype_of: Callable[[str], torch.dtype],
) -> None:
    """Give a module (built on the meta device) its weights, converted one by one; empties `tensors`.

    Raises CheckpointError naming every kind of misfit: tensors missing, unknown, of another shape, not
    floating-point, or not finite in the target format.
    """
    expected = module.state_dict()
    _check_fit(expected, tensors, file_name)
    converted: dict[str, Tensor] = {}
    for name in expected:
        # Popped, so that at most one tensor is in memory in both formats; copied, so that a file replaced on
        # disk cannot change or crash a running server.
        source = tensors.pop(name)
        weight = source.to(device=device, dtype=dtype_of(name), copy=True)
        if weight.device.type != "meta" and not _is_finite(weight):
            raise CheckpointError(f"{file_name}: {name} holds values that are not finite in {weight.dtype}")
        converted[name] = weight
    module.load_state_dict(converted, strict=True, assign=True)
    module.requires_grad_(False).eval().to(device)


def _is_finite(weight: Tensor) -> bool:
    # The extremes carry NaN along, and take a thirtieth of the time of looking at every value with isfinite.
    low, high = weight.aminmax()
    return bool((low.isfinite() & high.isfinite()).item())


def hash_files(paths: Iterable[Path]) -> str:
    """Short SHA-256 over the content of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()[:REVISION_LENGTH]


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path) if is_zip else []
        shells: list[Any] = [(_shell(name), name) for name in names if name.startswith(BOOKKEEPING_PACKAGES)]
        with torch.serialization.safe_globals(shells):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        if any(sign in str(error) for sign in ("GLOBAL", "Can only create", "Can only build")):
            raise CheckpointError(
                f"{path.name} holds Python objects besides tensors and is not read"
            ) from error
        raise CheckpointError(f"{path.name} is damaged or no PyTorch file") from error
    except _READING_ERRORS as error:
        raise CheckpointError(f"{path.name} is damaged or no PyTorch file") from error


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
        f"{title}: {_few(names)}"
        for title, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("other shape", reshaped),
            ("not floating-point", mistyped),
        )
        if names
    ]
    if faults:
        raise CheckpointError(f"{file_name} does not fit the architecture. " + "; ".join(faults))


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES_SHOWN])
    rest = len(names) - MAX_NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
