"""The passes of prompts and scoring on the fused layers. The reference is `Transformer`."""

import torch
from torch import Tensor

from model.backends.cuda.fused_step import FusedStep
from model.backends.cuda.launch import has_tensor_cores
from model.backends.cuda.triton_norm import TokensFrom
from model.backends.cuda.triton_stretch import BLOCK, SMALL_BLOCK, attend_stretch
from model.network.cache import KeyValueCache
from model.network.transformer import Transformer


class CudaNetwork(FusedStep):
    """The passes of `Transformer`, which its docstrings describe.

    A hidden state here is what the head's product reads, after both LayerNorms, in the dtype of the weights.
    """

    def __init__(self, transformer: Transformer) -> None:
        super().__init__(transformer)
        self._masks = [transformer.get_buffer(f"{kind}_mask") for kind in transformer.kinds]
        self.hidden_dtype = transformer.hidden_dtype
        has_cores = has_tensor_cores(transformer.text_embeddings.weight.device)
        self._block = BLOCK if has_cores else SMALL_BLOCK

    @torch.inference_mode()
    def encode(
        self,
        input_ids: Tensor,
        *,
        start: int = 0,
        cache: KeyValueCache | None = None,
        left_slots: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        if cache is None or left_slots is None or slots is None:
            if start:
                raise ValueError("Positions before `start` can only be read from a cache and its slots.")
            left_slots = slots = torch.zeros(len(input_ids), dtype=torch.int64, device=input_ids.device)
        return self._run_stretch(input_ids, start, cache, left_slots, slots, write=False)

    @torch.inference_mode()
    def prefill(
        self, input_ids: Tensor, cache: KeyValueCache, left_slots: Tensor, slots: Tensor, *, start: int = 0
    ) -> Tensor:
        return self._run_stretch(input_ids, start, cache, left_slots, slots, write=True)

    def _run_stretch(
        self,
        input_ids: Tensor,
        start: int,
        cache: KeyValueCache | None,
        left_slots: Tensor,
        slots: Tensor,
        *,
        write: bool,
    ) -> Tensor:
        count, length = input_ids.shape
        if length == 0 or start + length > self.config.total_length:
            raise ValueError(f"Positions [{start}, {start + length}) do not fit {self.config.total_length}.")

        def attend(layer: int, fused: Tensor) -> Tensor:
            pools = (fused, fused) if cache is None else (cache.left[layer], cache.body[layer])
            return attend_stretch(
                fused,
                pools,
                left_slots,
                slots,
                self._masks[layer],
                start,
                length,
                self.config,
                write=write,
                block=self._block,
            )

        _, normed = self.run(TokensFrom(input_ids, start), count * length, attend)
        return normed.view(count, length, -1)
