"""Draws prompts with a network in training, for the sample sheets.

The loop has no cache, because sheets are rare. Training does not use the engine.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer
from training.sequences import LossWeights, RowBuilder
from training.sheets import save_sheet
from training.state import step_generator


@torch.no_grad()
def draw_prompts(
    path: Path,
    transformer: Transformer,
    image_tokenizer: ImageTokenizer,
    builder: RowBuilder,
    prompts: Sequence[str],
    *,
    temperature: float = 0.5,
    seed: int = 0,
) -> None:
    """Draw one image per prompt, and write them next to each other."""
    config = transformer.config
    device = transformer.text_embeddings.weight.device
    empty = torch.zeros(len(prompts), 0, dtype=torch.long)
    ids = builder.text_to_image(prompts, empty, LossWeights()).input_ids().to(device)
    random = step_generator(seed, 0, "sheet")
    for _ in range(config.image_length):
        hidden = transformer.encode(ids)[:, -1]
        logits = transformer.image_logits(hidden)[:, : config.image_codebook_size].float().cpu()
        chosen = torch.multinomial((logits / temperature).softmax(1), 1, generator=random)
        ids = torch.cat([ids, chosen.to(device)], dim=1)
    codes = ids[:, config.image_start :]
    save_sheet(path, image_tokenizer.decode(codes).cpu(), columns=len(prompts))
