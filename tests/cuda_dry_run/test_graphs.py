"""Captured graphs of the published sizes: no wait inside, and a bounded number of kernels."""

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: the CUDA path is NOT dry-run")

from model.backends.cuda.capture import Capturer
from model.backends.cuda.graphs import StepGraphs
from model.backends.cuda.lanes import StepMemory
from model.backends.cuda.network import CudaNetwork
from model.config import PRESETS
from model.network.cache import KeyValueCache
from tests.cuda_dry_run.engines import CONFIG, drawing, engine_of, network_of
from tests.cuda_dry_run.fake_cuda import dry_run
from tests.cuda_dry_run.machine import IllegalInCaptureError

MAX_NODES_OF_FEW, MAX_NODES = 125, 171
"""Kernels of a step of 24 layers: of up to 16 sequences, and of more."""


def nodes_of(preset: str, num_slots: int) -> list[int]:
    """The number of kernels of the decode steps, from the largest batch down, of images and of texts."""
    config = PRESETS[preset].config
    with dry_run() as machine:
        network = CudaNetwork(network_of(config))
        cache = KeyValueCache(config, num_slots + 1, num_slots + 1, "cuda:0", torch.float16)
        tokens = torch.zeros(num_slots + 1, config.total_length, dtype=torch.int64, device="cuda:0")
        hidden = torch.zeros(num_slots + 1, config.hidden_size, dtype=torch.float16, device="cuda:0")
        memory = StepMemory(cache, tokens, tokens.bool(), hidden, hidden)
        graphs = StepGraphs(config, network, memory, num_slots, Capturer(torch.device("cuda:0")))
        decoding = 2 * len(graphs.images.sizes)
        return [graph.nodes.total() for graph in machine.graphs[:decoding]]


def test_a_step_of_a_few_sequences_has_at_most_125_kernels():
    for nodes in nodes_of("350M", 2):
        assert nodes <= MAX_NODES_OF_FEW


@pytest.mark.parametrize("preset", ["1.3B"])
def test_a_step_of_wide_rows_has_at_most_171_kernels(preset: str):
    assert max(nodes_of(preset, 2)) <= MAX_NODES


def test_a_first_draw_has_a_few_kernels_and_a_prompt_no_more_than_a_step():
    with dry_run() as machine:
        engine = engine_of(num_slots=2)
        layers = CONFIG.num_layers
        for graph in machine.graphs:
            if "conv2d" not in graph.nodes:
                assert graph.nodes.total() <= 7 * layers + 4
        engine.close()


def test_a_wait_inside_a_capture_is_refused():
    """The device itself refuses it; so does this one, else the tests of graphs would show nothing."""
    with dry_run():
        capturer = Capturer(torch.device("cuda:0"))
        tensor = torch.zeros(3, device="cuda:0")
        with pytest.raises(IllegalInCaptureError):
            capturer.capture(tensor.tolist)
        with pytest.raises(IllegalInCaptureError):
            capturer.capture(lambda: torch.tensor([1, 2], device="cuda:0"))


def test_on_every_gpu_events_are_recorded_on_its_own_streams():
    """Device 0 is the current one here: an event without a stream would belong to it."""
    with dry_run() as machine:
        engine = engine_of(num_slots=2, device="cuda:1")
        engine.submit("images", drawing(CONFIG))
        for _ in range(4):
            engine.step()
        engine.close()
        assert machine.take().recorded_on == {torch.device("cuda:1")}
        assert {graph.device for graph in machine.graphs} == {torch.device("cuda:1")}
