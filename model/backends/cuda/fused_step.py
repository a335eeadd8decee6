"""One decode step of the network: one token of every sequence. The reference is `Transformer.decode`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.backends.cuda.few_rows import FewRows
from model.backends.cuda.layers import Attend, FusedLayers
from model.backends.cuda.triton_attention import AttentionTuning, attend
from model.backends.cuda.triton_norm import TokensAt
from model.network.cache import KeyValueCache
from model.network.transformer import Transformer


@dataclass(frozen=True)
class StepInputs:
    """The token that each sequence reads; all int64 on the device, in any order of segments.

    `tokens`: shape = (slots, total_length), sequence n reads [slots[n], positions[n]]; `positions`
    (absolute), `left_slots`, `slots`: shape = (sequences,).
    """

    tokens: Tensor
    positions: Tensor
    left_slots: Tensor
    slots: Tensor


class FusedStep(FusedLayers):
    """The decode step of one network. Its weights may be changed in place afterwards, but not replaced."""

    def __init__(self, transformer: Transformer, tuning: AttentionTuning | None = None) -> None:
        super().__init__(transformer)
        self._tuning = tuning or AttentionTuning()
        self._cells = [
            transformer.get_buffer(f"{kind}_cells").to(torch.int32).contiguous() for kind in transformer.kinds
        ]
        self._few = FewRows(self)

    @torch.inference_mode()
    def hidden(self, inputs: StepInputs, cache: KeyValueCache) -> tuple[Tensor, Tensor]:
        """Run one token of every sequence through all layers; its keys and values go into the cache.

        Returns the hidden states, float32, and the input of the head's product, in the weights' dtype, both
        of shape (sequences, hidden).
        """
        tokens = TokensAt(inputs.tokens, inputs.slots, inputs.positions)
        return self.run(tokens, len(inputs.slots), self._attention(inputs, cache))

    @torch.inference_mode()
    def logits(self, inputs: StepInputs, cache: KeyValueCache, width: int, *, is_image: bool) -> Tensor:
        """Do what `hidden` does; return logits over the first `width` image codes, or text ids.

        Up to 16 sequences have the same bits in any batch.
        """
        rows = len(inputs.slots)
        if not self._few.fits(rows):
            return self.first_logits(self.hidden(inputs, cache)[1], width, is_image=is_image)
        tokens = TokensAt(inputs.tokens, inputs.slots, inputs.positions)
        return self._few.head(
            self._few.run(tokens, rows, self._attention(inputs, cache)), width, is_image=is_image
        )

    @torch.inference_mode()
    def first_logits(self, normed: Tensor, width: int, *, is_image: bool) -> Tensor:
        """Return the logits of stored prompts; `normed`: the input of the head's product."""
        if self._few.fits(len(normed)):
            return self._few.head(normed, width, is_image=is_image)
        return self.image_logits(normed, width) if is_image else self.text_logits(normed, width)

    def _attention(self, inputs: StepInputs, cache: KeyValueCache) -> Attend:
        def attend_step(layer: int, fused: Tensor) -> Tensor:
            return attend(
                fused,
                cache.left[layer],
                cache.body[layer],
                inputs.positions,
                inputs.left_slots,
                inputs.slots,
                self._cells[layer],
                self.config,
                self._tuning,
            )

        return attend_step
