"""Which kernels a packed network gets on this machine."""

from pathlib import Path

import pytest
import torch

from model.config import ModelConfig
from model.kernels.x86 import is_available
from model.kernels.x86.stack import can_run
from tests.model.architectures import random_transformer

CONFIG = ModelConfig(1, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)


def test_kernels_are_built_where_the_processor_has_their_instructions():
    # Where the build went wrong every test of the kernels is skipped: this one is not.
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


@pytest.mark.parametrize("as_one", [False, True])
def test_layers_are_one_only_where_asked_and_possible(as_one: bool):
    network = random_transformer(CONFIG, 1).bfloat16()
    network.pack(as_one=as_one)
    packed = network._packed
    if packed is None:
        pytest.skip("this build of torch has no packed bfloat16 products")
    assert (packed.stack is not None) == (as_one and is_available())


@pytest.mark.parametrize(("kernels", "remedy"), [(True, "dtype auto"), (False, "RUDOLPH_INT8_WEIGHTS off")])
def test_int8_that_would_lose_numbers_is_refused(kernels: bool, remedy: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("model.packing.can_pack_int8", lambda: False)
    monkeypatch.setattr("model.packing.is_available", lambda: kernels)
    with pytest.raises(RuntimeError, match=remedy):
        random_transformer(CONFIG, 1).pack(int8=True)
