"""The complete VQGAN: encoder, codebook, decoder.

Knows `VqganConfig` and the official tensor names (in the wavelet file without the prefix `model.`). Does not
know files or image formats.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import VqganConfig
from model.image_tokenizer.layers import (
    Downsample,
    InverseWavelet,
    Level,
    Middle,
    Upsample,
    group_norm,
)

RGB = 3
WAVELET_BANDS = 4


def _level_channels(config: VqganConfig) -> list[int]:
    return [config.channels * multiplier for multiplier in config.channel_multipliers]


def _has_attention(config: VqganConfig, level: int) -> bool:
    """Return whether a level has attention, by the nominal resolution and not by the size of the image."""
    return config.resolution // 2**level in config.attention_resolutions


class Encoder(nn.Module):
    """Pixels to features: one vector per cell of `downsampling` pixels per side."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        channels = _level_channels(config)
        self.conv_in = nn.Conv2d(RGB, config.channels, 3, padding=1)
        self.down = nn.ModuleList()
        incoming = config.channels
        for index, outgoing in enumerate(channels):
            level = Level(
                incoming,
                outgoing,
                config.num_res_blocks,
                config.num_groups,
                attention=_has_attention(config, index),
            )
            if index < len(channels) - 1:
                level.downsample = Downsample(outgoing)
            self.down.append(level)
            incoming = outgoing
        self.mid = Middle(incoming, config.num_groups)
        self.norm_out = group_norm(incoming, config.num_groups)
        self.conv_out = nn.Conv2d(incoming, config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x: Tensor, shape = (batch, 3, height, width), in [-1, 1]"""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(functional.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Features to pixels, or to wavelet bands."""

    def __init__(self, config: VqganConfig, out_channels: int) -> None:
        super().__init__()
        channels = _level_channels(config)
        incoming = channels[-1]
        self.conv_in = nn.Conv2d(config.z_channels, incoming, 3, padding=1)
        self.mid = Middle(incoming, config.num_groups)
        levels: list[Level] = []
        for index in reversed(range(len(channels))):
            level = Level(
                incoming,
                channels[index],
                config.num_res_blocks + 1,
                config.num_groups,
                attention=_has_attention(config, index),
            )
            if index > 0:
                level.upsample = Upsample(channels[index])
            levels.append(level)
            incoming = channels[index]
        # Stored from the highest resolution to the lowest, executed in reverse.
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = group_norm(incoming, config.num_groups)
        self.conv_out = nn.Conv2d(incoming, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x: Tensor, shape = (batch, z_channels, rows, columns)"""
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(functional.silu(self.norm_out(x)))


class WaveletDecoder(nn.Module):
    """A decoder that outputs four wavelet bands, and the inverse transform to twice the side."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)
        self.decoder = Decoder(config, RGB * WAVELET_BANDS)
        self.idwt = InverseWavelet()

    def forward(self, x: Tensor) -> Tensor:
        return self.idwt(self.decoder(x))


class Codebook(nn.Module):
    """Features to code logits, and code vectors."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.z_channels, config.codebook_size, 1)
        vectors = torch.empty(config.codebook_size, config.embed_dim)
        if (
            not vectors.is_meta
        ):  # on the meta device, random numbers would import large parts of torch's compiler
            nn.init.normal_(vectors)
        self.embed = nn.Embedding(config.codebook_size, config.embed_dim, _weight=vectors)


class ImageTokenizer(nn.Module):
    """Images to codes and back.

    The encoder and the decoder may have different dtypes. Each computes in the dtype of its own weights.
    """

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = WaveletDecoder(config) if config.dwt else Decoder(config, RGB)
        self.quantize = Codebook(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        # The wavelet decoder has its own. The file contains this unused one too.
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    def code_logits(self, pixels: Tensor) -> Tensor:
        """Compute the logit of every code for every cell; differentiable.

        pixels: Tensor, shape = (batch, 3, height, width), in [0, 1], sides multiples of `downsampling`.
        Returns shape (batch, codebook_size, rows, columns). Raises ValueError on any other shape.
        """
        step = self.config.downsampling
        if pixels.ndim != 4 or pixels.shape[1] != RGB or pixels.shape[2] % step or pixels.shape[3] % step:
            raise ValueError(
                f"Pixels must have shape (batch, 3, height, width) with sides that are multiples of {step}, "
                f"not {tuple(pixels.shape)}."
            )
        features = self.encoder(_like(2 * pixels - 1, self.quant_conv.weight))
        return self.quantize.proj(self.quant_conv(features))

    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """Decode code vectors to pixels; differentiable.

        vectors: Tensor, shape = (batch, embed_dim, rows, columns).
        Returns unclamped pixels, shape = (batch, 3, height, width), nominally in [-1, 1].
        """
        if isinstance(self.decoder, WaveletDecoder):
            return self.decoder(self.decoder.post_quant_conv(vectors))
        return self.decoder(self.post_quant_conv(vectors))

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Encode images to codes, without noise.

        pixels: Tensor, shape = (batch, 3, height, width), in [0, 1], sides multiples of `downsampling`.
        Returns int64 codes, shape = (batch, rows · columns), row by row.
        """
        return self.code_logits(pixels).argmax(dim=1).flatten(1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes to images.

        codes: int64 Tensor, shape = (batch, rows · columns) of a square, or (batch, rows, columns); every
        code in 0 … codebook_size - 1.
        Returns float32 pixels in [0, 1], shape = (batch, 3, rows · upsampling, columns · upsampling).
        Raises ValueError if a flat row of codes is not a square.
        """
        if codes.ndim == 2:
            side = math.isqrt(codes.shape[1])
            if side * side != codes.shape[1]:
                raise ValueError(f"{codes.shape[1]} codes do not form a square image.")
            codes = codes.unflatten(1, (side, side))
        vectors = self.quantize.embed(codes).permute(0, 3, 1, 2)
        pixels = self.decode_vectors(_like(vectors, self.post_quant_conv.weight))
        return (pixels.float().clamp(-1.0, 1.0) + 1.0) * 0.5


def _like(x: Tensor, weight: Tensor) -> Tensor:
    """Return x in the dtype of the weights, with channels last."""
    return x.to(weight.dtype).contiguous(memory_format=torch.channels_last)


def _check(config: VqganConfig) -> None:
    """Refuse sizes that no checkpoint can have."""
    if config.z_channels != config.embed_dim:
        raise ValueError(
            f"z_channels ({config.z_channels}) and embed_dim ({config.embed_dim}) must be equal: "
            "the projection of the codebook reads vectors of both sizes."
        )
    for channels in {config.channels, *_level_channels(config)}:
        if channels % config.num_groups:
            raise ValueError(
                f"{channels} channels cannot be divided into {config.num_groups} groups (num_groups)."
            )
