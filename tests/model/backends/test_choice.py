"""The backend that is chosen on this machine, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.backends import WEIGHT_FORMATS, BackendError, choose_backend
from model.backends.reference import ReferenceBackend
from model.backends.x86 import is_available
from model.backends.x86.backend import X86Backend
from model.backends.x86.linear import WeightFormat
from model.backends.x86.network import can_run
from model.config import ModelConfig
from model.rudolph import Rudolph
from tests.support.architectures import random_transformer
from tests.support.sessions import small_rudolph

CONFIG = ModelConfig(1, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)


def bundle_of(folder: Path, dtype: torch.dtype) -> Rudolph:
    return replace(
        small_rudolph(folder), config=CONFIG, transformer=random_transformer(CONFIG, 1).to(dtype), dtype=dtype
    )


def test_kernels_are_built_where_the_processor_has_their_instructions():
    # Where the build failed every other test of the kernels is skipped.
    processor = Path("/proc/cpuinfo")
    if not processor.exists() or not {"avx2", "fma"} <= set(processor.read_text().split()):
        pytest.skip("this processor has no AVX2: the kernels in C are NOT tested")
    assert is_available()


def test_float32_and_odd_shapes_have_no_kernels():
    assert not can_run(CONFIG, torch.zeros(1))
    odd = ModelConfig(1, 24, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    assert not can_run(odd, torch.zeros(1, dtype=torch.bfloat16))
    wide = ModelConfig(1, 288, 2, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    assert not can_run(wide, torch.zeros(1, dtype=torch.bfloat16))
    assert can_run(CONFIG, torch.zeros(1, dtype=torch.bfloat16)) == is_available()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_run_where_they_can_and_the_reference_elsewhere(dtype: torch.dtype, tiny_v2: Path):
    backend = choose_backend(bundle_of(tiny_v2, dtype))
    has_kernels = dtype is torch.bfloat16 and is_available()
    assert type(backend) is (X86Backend if has_kernels else ReferenceBackend)


@pytest.mark.parametrize("weight_format", ["packed12", "int8"])
def test_weight_formats_that_need_kernels_are_refused_without(weight_format: str, tiny_v2: Path):
    with pytest.raises(BackendError, match="RUDOLPH_DTYPE=auto"):
        choose_backend(bundle_of(tiny_v2, torch.float32), weight_format)


@pytest.mark.skipif(not is_available(), reason="this processor has no AVX2")
def test_packed_weights_are_refused_where_the_processor_does_not_multiply_them(
    tiny_v2: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("model.backends.x86._kernels.has_bf16_dot", lambda: False)
    with pytest.raises(BackendError, match="RUDOLPH_WEIGHT_FORMAT=auto"):
        choose_backend(bundle_of(tiny_v2, torch.bfloat16), "packed12")


def test_named_weight_formats_are_those_of_the_kernels():
    assert list(WEIGHT_FORMATS) == [each.value for each in WeightFormat]
