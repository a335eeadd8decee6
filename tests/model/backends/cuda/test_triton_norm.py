"""The embedding and norm kernels against torch's modules."""

import pytest
import torch
from torch import nn

from model.backends.cuda.triton_norm import (
    EmbeddingTables,
    TokensAt,
    TokensFrom,
    add_and_norm,
    embed_and_norm,
)
from model.config import ModelConfig
from model.network.layout import StepLayout
from model.network.transformer import Transformer
from tests.support.architectures import random_ids, random_transformer


def norm_of(size: int, seed: int, device: torch.device, dtype: torch.dtype) -> nn.LayerNorm:
    generator = torch.Generator().manual_seed(seed)
    norm = nn.LayerNorm(size)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(size, generator=generator))
        norm.bias.copy_(torch.randn(size, generator=generator))
    return norm.to(device, dtype)


@pytest.mark.parametrize("size", [4, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("with_last", [False, True])
def test_add_and_norm_equals_the_modules(
    size: int, dtype: torch.dtype, with_last: bool, device: torch.device
):
    rows = 3
    generator = torch.Generator().manual_seed(size)
    branch = (torch.randn(rows, size, generator=generator) * 5 + 1).to(device, dtype)
    residual = torch.randn(rows, size, generator=generator).to(device)
    post, following, last = (norm_of(size, seed, device, dtype) for seed in range(3))
    after = residual.clone()
    normed = torch.full_like(branch, float("nan"))
    add_and_norm(branch, after, post, following, normed, last=last if with_last else None)
    expected = residual + post.float()(branch.float())
    expected_normed = following.float()(expected)
    if with_last:
        expected_normed = last.float()(expected_normed)
    torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-5)
    tolerance = 1e-5 if dtype is torch.float32 else 4e-3
    torch.testing.assert_close(normed.float(), expected_normed, rtol=tolerance, atol=tolerance)


def test_an_overflowing_branch_is_cut_at_the_largest_half(device: torch.device):
    branch = torch.tensor([[float("inf"), 1.0, -float("inf"), 7.0]], dtype=torch.float16, device=device)
    residual = torch.zeros(1, 4, device=device)
    post, following = (norm_of(4, seed, device, torch.float16) for seed in range(2))
    normed = torch.empty_like(branch)
    add_and_norm(branch, residual, post, following, normed, clamp=True)
    cut = branch.float().clamp(-65504, 65504)
    torch.testing.assert_close(residual, post.float()(cut), rtol=1e-4, atol=1e-4)
    assert torch.isfinite(normed).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(1, 24, 2, 5, 3, 4, 3, 3, 20, 10),
        ModelConfig(1, 16, 2, 3, 4, 7, 3, 3, 20, 10, text_special_tokens=6, image_special_tokens=4),
    ],
)
def test_embedding_equals_the_networks_at_every_position(
    config: ModelConfig, dtype: torch.dtype, device: torch.device
):
    network: Transformer = random_transformer(config, seed=1).to(device, dtype)
    ids = random_ids(config, 2, seed=2).to(device)
    ids[:, 0] = 0
    places = torch.arange(config.total_length, device=device)
    slots = torch.arange(config.total_length, device=device) % 2
    groups = StepLayout.of(config, places.tolist())
    expected = network.embed_tokens(ids[slots, places], places, groups).float()
    residual = torch.full((config.total_length, config.hidden_size), float("nan"), device=device)
    normed = torch.empty_like(residual, dtype=dtype)
    norm = norm_of(config.hidden_size, 3, device, dtype)
    tables = EmbeddingTables(
        text=network.text_embeddings.weight,
        image=network.image_embeddings.weight,
        left=network.l_text_pos_embeddings.weight,
        right=network.r_text_pos_embeddings.weight,
        row=network.image_row_embeddings.weight,
        column=network.image_col_embeddings.weight,
    )
    shuffled = torch.randperm(config.total_length, generator=torch.Generator().manual_seed(0)).to(device)
    rows = TokensAt(ids, slots[shuffled], places[shuffled])
    embed_and_norm(rows, tables, norm, config, residual, normed)
    tolerance = 1e-6 if dtype is torch.float32 else 2e-3
    torch.testing.assert_close(residual, expected[shuffled], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(normed.float(), norm.float()(residual), rtol=4e-3, atol=4e-3)
    for start, end in ((0, config.total_length), (config.image_start - 1, config.right_start + 1)):
        stretch = torch.full((2 * (end - start), config.hidden_size), float("nan"), device=device)
        normed = torch.empty_like(stretch, dtype=dtype)
        embed_and_norm(TokensFrom(ids[:, start:end], start), tables, norm, config, stretch, normed)
        whole = network.embed_positions(ids[:, start:end], start).float().flatten(0, 1)
        torch.testing.assert_close(stretch, whole, rtol=tolerance, atol=tolerance)
