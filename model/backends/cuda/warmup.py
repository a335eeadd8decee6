"""The largest work of each kind, run once at start: a device that is too small fails here.

The results are dropped. The memory stays with the allocator, for the real work. Every kernel that later
work launches is compiled here.
"""

import torch
from torch import Tensor

from model.backends.cuda.network import CudaNetwork
from model.backends.scoring import HEAD_POSITIONS
from model.image_tokenizer import ImageTokenizer
from model.network.cache import KeyValueCache

SHORT_TEXT = 8
"""Positions of a class name; of texts as short as this, the most share one prefix in a step of scoring."""


@torch.inference_mode()
def run_largest_work(network: CudaNetwork, cache: KeyValueCache, step_tokens: int) -> None:
    """Run a full step of prompts, one of scoring on a shared prefix, and the head.

    Writes to the last slots of the cache only, which no sequence may use.
    """
    config, device = network.config, cache.body[0].device

    def ids(count: int, length: int) -> Tensor:
        return torch.ones(max(count, 1), length, dtype=torch.int64, device=device)

    hidden = network.encode(ids(step_tokens // config.total_length, config.total_length))
    flat = hidden.flatten(0, 1)[:HEAD_POSITIONS]
    torch.log_softmax(network.text_logits(flat).float(), dim=-1)
    torch.log_softmax(network.image_logits(flat).float(), dim=-1)
    left_slot = torch.full((1,), cache.num_left_slots - 1, device=device)
    slot = torch.full((1,), cache.num_slots - 1, device=device)
    texts = ids(step_tokens // SHORT_TEXT, min(SHORT_TEXT, config.right_text_length))
    network.encode(texts, start=config.right_start, cache=cache, left_slots=left_slot, slots=slot)
    network.prefill(ids(1, config.image_length), cache, left_slot, slot, start=config.image_start)


@torch.inference_mode()
def run_largest_images(tokenizer: ImageTokenizer, width: int, images: int, device: torch.device) -> None:
    """Encode and decode `images` images of `width` cells a side, on the current stream."""
    tokenizer.decode(torch.ones(images, width, width, dtype=torch.int64, device=device))
    side = width * tokenizer.config.downsampling
    tokenizer.encode(torch.zeros(images, 3, side, side, device=device))
