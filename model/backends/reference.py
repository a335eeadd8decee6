"""The reference backend: the network and the sampler in plain PyTorch, on any device.

Serves where no other backend runs, and every other one is tested against it.
"""

from torch import Tensor

from model.backends.base import Traits
from model.backends.batches import DecodeBatch
from model.backends.eager import EagerBackend
from model.backends.step_tensors import StepTensors
from model.network.layout import StepLayout
from model.network.sampler import SamplingBatch, sample
from model.network.transformer import Transformer

CPU_TRAITS = Traits(
    num_slots=16,
    step_tokens=512,
    steps_in_flight=0,
    drafts_tokens=True,
    # A batch is no faster than its images one by one, and equal images stay equal bytes.
    image_batch=1,
    # A second thread that computes would bring a second team of OpenMP threads. With more of them than cores
    # they wait asleep, and a decode step takes up to twice as long.
    images_in_thread=False,
    # A large chunk of scoring takes tens of seconds.
    step_limit_s=300.0,
)


class ReferenceBackend(EagerBackend):
    """`Transformer` and `sample` as they are."""

    def __init__(self, network: Transformer, traits: Traits = CPU_TRAITS) -> None:
        weight = network.text_embeddings.weight
        super().__init__(network, weight.device, weight.dtype)
        self.traits = traits
        self._reference = network

    def _decode(self, batch: DecodeBatch, step: StepTensors, ids: Tensor) -> Tensor:
        layout = StepLayout.of(self._config, batch.positions)
        return self._reference.decode(
            ids, step.targets - 1, self.cache, step.left_slots, step.slots, layout=layout
        )

    def _sample(self, logits: Tensor, sampling: SamplingBatch) -> Tensor:
        return sample(logits, sampling)
