"""The x86 backend: the network and the sampler in C."""

from torch import Tensor

from model.backends.batches import DecodeBatch
from model.backends.eager import EagerBackend
from model.backends.reference import CPU_TRAITS
from model.backends.step_tensors import StepTensors
from model.backends.x86.linear import WeightFormat
from model.backends.x86.network import X86Network
from model.backends.x86.sampling import draw
from model.network.layout import StepLayout
from model.network.sampler import SamplingBatch, sample
from model.network.transformer import Transformer


class X86Backend(EagerBackend):
    """One network on the C kernels."""

    def __init__(self, network: Transformer, weight_format: WeightFormat = WeightFormat.AUTO) -> None:
        """Take over the weights of `network`, which must not be used afterwards."""
        weight = network.text_embeddings.weight
        self._kernels = X86Network(network, weight_format)
        super().__init__(self._kernels, weight.device, weight.dtype)
        self.traits = CPU_TRAITS

    def _decode(self, batch: DecodeBatch, step: StepTensors, ids: Tensor) -> Tensor:
        return self._kernels.decode(
            ids,
            step.targets - 1,
            self.cache,
            step.left_slots,
            step.slots,
            layout=StepLayout.of(self._config, batch.positions),
            image_slots=step.image_slots,
        )

    def _sample(self, logits: Tensor, sampling: SamplingBatch) -> Tensor:
        # A guided draw mixes two distributions, which is too rare on a CPU for a kernel.
        return draw(logits, sampling) if sampling.guidance is None else sample(logits, sampling)
