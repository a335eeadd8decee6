"""Bytes of the largest work at start, for every published size, on a device that computes nothing."""

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: the CUDA path is NOT dry-run")

from model.backends.cuda.memory import WORK_BYTES, slot_bytes, step_tokens_for
from model.backends.cuda.network import CudaNetwork
from model.backends.cuda.warmup import run_largest_images, run_largest_work
from model.config import PRESETS, VqganConfig
from model.network.cache import KeyValueCache
from tests.cuda_dry_run.engines import network_of, tokenizer_of
from tests.cuda_dry_run.fake_cuda import dry_run

LIMIT = 8 << 30
"""A third of a GPU with 24 GB."""
SIZES = ["350M", "1.3B", "2.7B"]


@pytest.mark.parametrize("preset", SIZES)
def test_the_largest_work_takes_a_third_of_a_small_gpu_at_most(preset: str):
    config = PRESETS[preset].config
    with dry_run(count_bytes=True) as machine:
        network = CudaNetwork(network_of(config))
        cache = KeyValueCache(config, 1, 1, "cuda:0", torch.float16)
        before = machine.peak_bytes = machine.bytes
        tokens = step_tokens_for(config, 16384)
        run_largest_work(network, cache, tokens)
        peak = machine.peak_bytes - before
    assert peak <= LIMIT
    # The first attempt at a number of slots leaves room for this work, and for logits.
    assert peak <= tokens * config.hidden_size * WORK_BYTES + (1 << 29)


def test_the_largest_batch_of_images_takes_a_third_of_a_small_gpu_at_most():
    with dry_run(count_bytes=True) as machine:
        tokenizer = tokenizer_of(VqganConfig())
        before = machine.peak_bytes = machine.bytes
        run_largest_images(tokenizer, 16, 16, torch.device("cuda:0"))
        assert machine.peak_bytes - before <= LIMIT


@pytest.mark.parametrize("preset", SIZES)
def test_the_estimate_of_a_slot_is_what_a_slot_takes(preset: str):
    config = PRESETS[preset].config
    with dry_run(count_bytes=True) as machine:
        kept = []
        for slots in (4, 5):
            before = machine.bytes
            kept.append(
                (
                    KeyValueCache(config, slots, slots, "cuda:0", torch.float16),
                    torch.zeros(slots, config.total_length, dtype=torch.int64, device="cuda:0"),
                    torch.zeros(slots, config.total_length, dtype=torch.bool, device="cuda:0"),
                )
            )
            size = machine.bytes - before
            kept.append(size)
        assert kept[3] - kept[1] == slot_bytes(config, torch.float16)
