"""min_p reaches the sampler of every backend, for images and texts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.backends.base import Backend
from model.backends.reference import ReferenceBackend
from model.backends.x86 import is_available
from model.config import ModelConfig
from model.rudolph import Rudolph
from tests.support.architectures import random_transformer
from tests.support.sessions import small_rudolph
from tests.workers.engine.works import captioning, drawing, drive, results
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import Sampling, Work, WorkResult


def reference(rudolph: Rudolph) -> Backend:
    return ReferenceBackend(rudolph.transformer)


def x86(rudolph: Rudolph) -> Backend:
    if not is_available():
        pytest.skip("this processor has no AVX2")
    from model.backends.x86.backend import X86Backend

    return X86Backend(rudolph.transformer)


def cuda(rudolph: Rudolph) -> Backend:
    """In the interpreter of Triton, without graphs."""
    pytest.importorskip("triton", reason="triton is not installed")
    if torch.cuda.is_available():
        pytest.skip("this run has the compiled kernels")
    from model.backends.cuda.backend import CudaBackend

    return CudaBackend(rudolph.transformer, rudolph.image_tokenizer)


@pytest.mark.parametrize(
    ("make", "dtype"), [(reference, torch.float32), (x86, torch.bfloat16), (cuda, torch.float32)]
)
def test_min_p_of_one_draws_the_likeliest_token_on_every_backend(
    make: Callable[[Rudolph], Backend], dtype: torch.dtype, tiny_v2: Path
) -> None:
    small = small_rudolph(tiny_v2)
    # One layer: the interpreter of Triton takes its time.
    config: ModelConfig = replace(small.config, num_layers=1, hidden_size=16, num_heads=1)

    def run(sampling: Sampling) -> dict[str, WorkResult]:
        network = random_transformer(config, seed=8).to(dtype)
        rudolph = replace(small, config=config, transformer=network, dtype=dtype)
        engine = Engine(rudolph, EngineSettings(6, 100, image_threads=1), make(rudolph))
        works: dict[str, Work] = {
            "images": replace(drawing(rudolph, seeds=(1,)), sampling=sampling),
            "captions": replace(captioning(rudolph, seeds=(2,), max_tokens=4), sampling=sampling),
        }
        for owner, work in works.items():
            engine.submit(owner, work)
        drawn = results(drive(engine))
        engine.close()
        return drawn

    # Only the largest logit is left, or equal ones at any temperature.
    likeliest = run(Sampling(5.0, 0, 1.0, min_p=1.0))
    assert run(Sampling(0.2, 0, 1.0, min_p=1.0)) == likeliest
    assert run(Sampling(5.0, 0, 1.0)) != likeliest
    if dtype is torch.float32:
        assert run(Sampling(1.0, 1, 1.0)) == likeliest
