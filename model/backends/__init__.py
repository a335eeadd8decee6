"""Backends that run the network. `base` explains them; `choose_backend` selects one at start."""

import importlib.util
from typing import TYPE_CHECKING

from model.rudolph import Rudolph

if TYPE_CHECKING:
    from model.backends.base import Backend

WEIGHT_FORMATS = ("auto", "bf16", "packed12", "int8")
"""Storage formats of weights for the C kernels; `WeightFormat` in x86/linear.py describes each."""


class BackendError(RuntimeError):
    """No backend on this machine supports a setting."""


def choose_backend(rudolph: Rudolph, weight_format: str = "auto") -> "Backend":
    """Return the fastest backend for a loaded checkpoint. The backend then owns the transformer.

    CUDA with Triton: graphs of Triton kernels. A CPU that the C kernels support: the C kernels. Otherwise the
    reference. `weight_format` applies to CPUs only. Raises BackendError if it is not supported.
    """
    network = rudolph.transformer
    weight = network.text_embeddings.weight
    if weight.device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from model.backends.cuda.backend import CudaBackend

        return CudaBackend(network, rudolph.image_tokenizer)
    from model.backends.x86.network import can_run

    if can_run(rudolph.config, weight):
        from model.backends.x86.backend import X86Backend
        from model.backends.x86.linear import WeightFormat, has_format

        if not has_format(WeightFormat(weight_format)):
            raise BackendError(
                f"This processor has no products of {weight_format} weights. Set RUDOLPH_WEIGHT_FORMAT=auto."
            )
        return X86Backend(network, WeightFormat(weight_format))
    if weight.device.type == "cpu" and weight_format not in {"auto", "bf16"}:
        raise BackendError(
            f"Weights in {weight_format} need the kernels in C, which run here with bfloat16 on x86 only. "
            "Set RUDOLPH_DTYPE=auto, or RUDOLPH_WEIGHT_FORMAT=auto."
        )
    from model.backends.reference import ReferenceBackend

    return ReferenceBackend(network)
