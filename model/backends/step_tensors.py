"""A decode batch as tensors on a device, for backends that run one PyTorch operation after the other."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.backends.batches import DecodeBatch
from model.network.sampler import Guidance, SamplingBatch


@dataclass(frozen=True)
class TextSampling:
    """Sampling of the text sequences of a batch."""

    sampling: SamplingBatch
    width: int
    """Text ids that any of the sequences may draw from."""
    allowed: Tensor | None
    """Bool, shape = (sequences, width), where sequences differ; None: all may draw every id."""
    eos_from: Tensor
    """int64, shape = (sequences,): a drawn id that is not below means eos."""


@dataclass(frozen=True)
class StepTensors:
    """One step of a batch; int64, shape = (sequences,)."""

    num_left: int
    num_image: int
    slots: Tensor
    left_slots: Tensor
    image_slots: Tensor
    targets: Tensor
    """Positions of the tokens that are drawn."""
    image: SamplingBatch | None
    text: TextSampling | None

    @classmethod
    def of(cls, batch: DecodeBatch, device: torch.device, *, ahead: int = 1) -> "StepTensors":
        """Build the tensors of a step that draws the token `ahead` positions after the last known one."""

        def integers(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        images = batch.select(list(range(len(batch)))[batch.image], num_image=batch.num_image)
        texts = batch.select(batch.text_indices, num_left=batch.num_left)
        return cls(
            num_left=batch.num_left,
            num_image=batch.num_image,
            slots=integers(batch.slots),
            left_slots=integers(batch.left_slots),
            image_slots=integers(batch.image_slots),
            targets=integers([position + ahead for position in batch.positions]),
            image=_sampling(images, device, ahead) if len(images) else None,
            text=_text_sampling(texts, device, ahead) if len(texts) else None,
        )

    def next(self) -> "StepTensors":
        """Return the tensors of the next step: every sequence is one token further."""
        image, text = self.image, self.text
        if image is not None:
            image = replace(image, positions=image.positions + 1)
        if text is not None:
            sampling = replace(text.sampling, positions=text.sampling.positions + 1)
            text = replace(text, sampling=sampling)
        return replace(self, targets=self.targets + 1, image=image, text=text)

    def image_part(self, values: Tensor) -> Tensor:
        """Return the values of the image sequences, from one value a sequence."""
        return values[self.num_left : self.num_left + self.num_image]

    def text_part(self, values: Tensor) -> Tensor:
        """Return the values of the text sequences, from one value a sequence."""
        if not self.num_image:
            return values
        return torch.cat([values[: self.num_left], values[self.num_left + self.num_image :]])

    def joined(self, image: Tensor | None, text: Tensor | None) -> Tensor:
        """Return one value a sequence from the two parts; the inverse of `image_part` and `text_part`."""
        if image is None or text is None:
            only = text if image is None else image
            assert only is not None
            return only
        return torch.cat([text[: self.num_left], image, text[self.num_left :]])


def _sampling(batch: DecodeBatch, device: torch.device, ahead: int) -> SamplingBatch:
    guidance = None
    if batch.has_guidance:
        guidance = Guidance(
            uncond_index=torch.tensor(batch.uncond_index, dtype=torch.int64, device=device),
            weight=torch.tensor(batch.guidance_weight, dtype=torch.float32, device=device),
            cond_index=torch.tensor(batch.cond_index, dtype=torch.int64, device=device),
        )
    return SamplingBatch.of(
        temperature=batch.temperature,
        top_k=batch.top_k,
        top_p=batch.top_p,
        min_p=batch.min_p,
        seeds=batch.seeds,
        positions=[position + ahead for position in batch.positions],
        guidance=guidance,
        device=device,
    )


def _text_sampling(batch: DecodeBatch, device: torch.device, ahead: int) -> TextSampling:
    width = max(batch.widths)
    allowed = None
    if min(batch.widths) < width:
        widths = torch.tensor(batch.widths, device=device)
        allowed = torch.arange(width, device=device) < widths[:, None]
    eos_from = torch.tensor(batch.eos_from, dtype=torch.int64, device=device)
    return TextSampling(_sampling(batch, device, ahead), width, allowed, eos_from)
