"""The largest pieces of work, once, at start: a device that is too small shows it here and not at run time.

Knows sizes; the results are thrown away. What was allocated stays with the allocator for the real work.
"""

import torch
from torch import Tensor

from model.kv_cache import KeyValueCache
from model.rudolph import Rudolph
from workers.engine.scorer import HEAD_POSITIONS

SHORT_TEXT = 8
"""Positions of a class name; with so many, scored texts are most in number for their shared prefix."""


@torch.inference_mode()
def rehearse(rudolph: Rudolph, cache: KeyValueCache, step_tokens: int, pictures: int) -> None:
    """A full step of prompts, one of scoring against a shared prefix, the head over many positions, pictures.

    Reads the last slots of the cache, which must be nobody's; writes nothing.
    """
    config, transformer, device = rudolph.config, rudolph.transformer, rudolph.device

    def ids(rows: int, length: int) -> Tensor:
        return torch.ones(max(rows, 1), length, dtype=torch.int64, device=device)

    hidden = transformer.encode(ids(step_tokens // config.total_length, config.total_length))
    flat = hidden.flatten(0, 1)[:HEAD_POSITIONS]
    torch.log_softmax(transformer.text_logits(flat).float(), dim=-1)
    torch.log_softmax(transformer.image_logits(flat).float(), dim=-1)
    texts = ids(step_tokens // SHORT_TEXT, min(SHORT_TEXT, config.right_text_length))
    slots = torch.full((len(texts),), cache.num_slots - 1, device=device)
    left_slots = torch.full_like(slots, cache.num_left_slots - 1)
    transformer.encode(texts, start=config.right_start, cache=cache, left_slots=left_slots, slots=slots)
    tokenizer = rudolph.image_tokenizer
    tokenizer.decode(ids(pictures, config.image_length))
    side = rudolph.input_side
    tokenizer.encode(torch.zeros(pictures, 3, side, side, device=device))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
