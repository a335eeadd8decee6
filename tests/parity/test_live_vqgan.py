"""The image tokenizer against the published one, over random architectures, weights and picture sizes."""

import contextlib
import io
import types
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import VqganConfig
from model.image_tokenizer import ImageTokenizer
from tests.support.reference import quiet, rudalle

TIE = 1e-4
"""Two codes nearer than this may swap places by rounding alone."""


class HaarWavelet:
    """The one wavelet that the reference asks the PyWavelets package for."""

    rec_lo = (0.7071067811865476, 0.7071067811865476)
    rec_hi = (0.7071067811865476, -0.7071067811865476)

    def __init__(self, name: str) -> None:
        assert name == "db1"


class Options(dict[str, Any]):
    """A mapping whose entries are attributes too, as omegaconf's are."""

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def reference_tokenizer(config: VqganConfig, seed: int) -> Any:
    package = rudalle()
    package.vae.decoder_dwt.pywt = types.SimpleNamespace(Wavelet=HaarWavelet)
    network = Options(
        double_z=False,
        z_channels=config.z_channels,
        resolution=config.resolution,
        in_channels=3,
        out_ch=3,
        ch=config.channels,
        ch_mult=config.channel_multipliers,
        num_res_blocks=config.num_res_blocks,
        attn_resolutions=list(config.attention_resolutions),
        dropout=0.0,
    )
    params = Options(
        ddconfig=network, n_embed=config.codebook_size, embed_dim=config.embed_dim, kl_weight=1e-8
    )
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        tokenizer = package.vae.model.VQGanGumbelVAE(Options(model=Options(params=params)), dwt=config.dwt)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in tokenizer.named_parameters():
            draw = torch.randn(weight.shape, generator=generator)
            if "norm" in name:
                weight.copy_(1 + 0.2 * draw if name.endswith("weight") else 0.2 * draw)
            elif name.endswith("bias"):
                weight.copy_(0.1 * draw)
            elif weight.ndim == 4:
                weight.copy_(draw / weight[0].numel() ** 0.5)
    return tokenizer.eval()


@st.composite
def configs(draw: st.DrawFn) -> VqganConfig:
    resolution = draw(st.sampled_from([16, 32, 64]))
    levels = draw(st.integers(2, 4))
    # 3 stands for a resolution that no level has; the reference cannot do with an empty list.
    sides = [3] + [resolution >> level for level in range(levels)]
    width = draw(st.sampled_from([8, 32]))
    return VqganConfig(
        codebook_size=draw(st.integers(2, 100)),
        embed_dim=width,
        z_channels=width,
        resolution=resolution,
        channels=draw(st.sampled_from([32, 64])),
        channel_multipliers=tuple(draw(st.lists(st.sampled_from([1, 2]), min_size=levels, max_size=levels))),
        num_res_blocks=draw(st.integers(1, 2)),
        attention_resolutions=tuple(
            draw(st.lists(st.sampled_from(sides), min_size=1, max_size=2, unique=True))
        ),
        dwt=draw(st.booleans()),
    )


@pytest.mark.slow
@given(configs(), st.integers(2, 4), st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_codes_and_pixels_equal_the_published_image_tokenizer(config, width, seed):
    reference = reference_tokenizer(config, seed)
    tokenizer = ImageTokenizer(config).eval()
    tokenizer.load_state_dict(reference.model.state_dict(), strict=True)
    generator = torch.Generator().manual_seed(seed)

    side = width * config.downsampling
    pixels = torch.rand(2, 3, side, side, generator=generator)
    with torch.no_grad():
        features = reference.model.quant_conv(reference.model.encoder(2 * pixels - 1))
        best, second = reference.model.quantize.proj(features).topk(2, dim=1).values.unbind(1)
    certain = (best - second > TIE).flatten(1)
    expected = reference.get_codebook_indices(pixels, disable_gumbel_softmax=True)
    assert torch.equal(tokenizer.encode(pixels)[certain], expected[certain])
    assert certain.float().mean() > 0.5

    codes = torch.randint(config.codebook_size, (2, width * width), generator=generator)
    with torch.no_grad():
        expected_pixels = reference.decode(codes)
    torch.testing.assert_close(tokenizer.decode(codes), expected_pixels, atol=1e-4, rtol=0)
    assert expected_pixels.shape[-1] == width * config.upsampling


def test_wavelet_filters_are_taken_from_the_file():
    config = VqganConfig(16, 8, 8, 16, 32, (1, 1), 1, (8,), dwt=True)
    reference = reference_tokenizer(config, 5)
    with torch.no_grad():
        for scale, buffer in enumerate(reference.model.decoder.idwt.buffers(), start=1):
            buffer.add_(0.05 * scale * torch.tensor([1.0, -2.0]).view(buffer.shape))
    tokenizer = ImageTokenizer(config).eval()
    tokenizer.load_state_dict(reference.model.state_dict(), strict=True)
    codes = torch.arange(16).view(1, 16)
    with torch.no_grad():
        expected = reference.decode(codes)
    torch.testing.assert_close(tokenizer.decode(codes), expected, atol=1e-4, rtol=0)
