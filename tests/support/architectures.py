"""Small random architectures, and those of the small checkpoints, for tests of the network."""

import json
from pathlib import Path

import torch
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.network.transformer import Transformer
from tests.support.reference import randomise


@st.composite
def architectures(draw: st.DrawFn, *, first_generation: bool | None = None) -> ModelConfig:
    """Layers 1 to 9, pictures 2 to 8 wide, any text lengths; first generation: no special tokens, R ≤ L.

    (The first-generation reference builds its convolution masks with L in the place of R: R > L fails.)
    """
    first = draw(st.booleans()) if first_generation is None else first_generation
    left = draw(st.integers(1, 9))
    heads = draw(st.sampled_from([1, 2, 4]))
    return ModelConfig(
        num_layers=draw(st.integers(1, 9)),
        hidden_size=heads * draw(st.sampled_from([4, 8, 12])),
        num_heads=heads,
        left_text_length=left,
        image_width=draw(st.integers(2, 8)),
        right_text_length=draw(st.integers(1, left if first else 9)),
        kernel_size=draw(st.sampled_from([1, 3, 5, 7, 9])),
        last_kernel_size=draw(st.sampled_from([1, 3, 5, 7, 9])),
        bpe_vocab_size=draw(st.integers(10, 40)),
        image_codebook_size=draw(st.integers(8, 40)),
        text_special_tokens=0 if first else draw(st.sampled_from([6, 8])),
        image_special_tokens=0 if first else draw(st.sampled_from([0, 8])),
    )


def random_ids(config: ModelConfig, rows: int, seed: int) -> Tensor:
    """Return whole sequences, int64, shape = (rows, total); a third of the text is padding (id 0)."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int, vocab: int) -> Tensor:
        return torch.randint(vocab, (rows, length), generator=generator)

    def text(length: int) -> Tensor:
        pads = torch.rand(rows, length, generator=generator) < 0.33
        return ids(length, config.bpe_vocab_size + config.text_special_tokens).masked_fill(pads, 0)

    image = ids(config.image_length, config.image_vocab_size)
    return torch.cat([text(config.left_text_length), image, text(config.right_text_length)], dim=1)


def random_transformer(config: ModelConfig, seed: int) -> Transformer:
    """Return a network with random weights, ready to serve."""
    network = Transformer(config)
    randomise(network, seed)
    return network.requires_grad_(False)


def read_config(folder: Path) -> ModelConfig:
    """Architecture of a small test checkpoint."""
    sizes = json.loads((folder / "config.json").read_text())
    left = sizes["l_text_seq_length"]
    return ModelConfig(
        num_layers=sizes["num_layers"],
        hidden_size=sizes["hidden_size"],
        num_heads=sizes["num_attention_heads"],
        left_text_length=left,
        image_width=sizes["image_tokens_per_dim"],
        right_text_length=sizes["r_text_seq_length"],
        kernel_size=sizes["kernel_size"],
        last_kernel_size=sizes["last_kernel_size"],
        bpe_vocab_size=sizes["vocab_size"] - left,
        image_codebook_size=sizes["image_vocab_size"],
        text_special_tokens=sizes.get("text_special_tokens", 0),
        image_special_tokens=sizes.get("image_special_tokens", 0),
    )


def read_transformer(folder: Path) -> Transformer:
    """Network of a small test checkpoint."""
    network = Transformer(read_config(folder))
    state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    network.load_state_dict({name: t for name, t in state.items() if not name.endswith("_mask")})
    return network.requires_grad_(False)
