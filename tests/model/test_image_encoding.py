"""Pictures from and to pixels: the centred square, bytes, files."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.images import encode_image, pixels_to_bytes, to_square_pixels
from tests.model.picture_files import noise


def test_largest_centred_square_is_taken():
    values = np.zeros((40, 100, 3), dtype=np.uint8)
    values[:, 30:70] = 200
    pixels = to_square_pixels(Image.fromarray(values), 16)
    assert pixels.shape == (3, 16, 16)
    assert torch.allclose(pixels, torch.tensor(200 / 255))


def test_bytes_are_truncated_not_rounded():
    pixels = torch.tensor([0.0, 0.9999, 1.0, 127.9 / 255, 128 / 255]).view(1, 1, 5).expand(3, 1, 5)
    assert pixels_to_bytes(pixels)[0, :, 0].tolist() == [0, 254, 255, 127, 128]


def test_bytes_have_channels_last_for_batches_too():
    pixels = torch.rand(2, 3, 5, 7)
    result = pixels_to_bytes(pixels)
    assert (result.shape, result.dtype) == ((2, 5, 7, 3), torch.uint8)
    assert result[1, 4, 6].tolist() == [int(255 * value) for value in pixels[1, :, 4, 6]]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_png_is_lossless(width, height, seed):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_image(values))) as decoded:
        decoded.verify()
    with Image.open(io.BytesIO(encode_image(values))) as decoded:
        assert (decoded.format, decoded.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(decoded), values)


def test_png_of_a_strided_view_is_of_what_the_view_shows():
    values = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    view = values[::-1, ::2]
    with Image.open(io.BytesIO(encode_image(view))) as decoded:
        assert np.array_equal(np.asarray(decoded), view)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_encoded_pictures_have_the_format_asked_for_and_look_alike(image_format):
    smooth = np.asarray(noise(8, 8).resize((64, 64), Image.Resampling.BICUBIC))
    data = encode_image(torch.from_numpy(smooth.copy()), image_format)
    decoded = Image.open(io.BytesIO(data))
    assert decoded.format == image_format.upper()
    assert np.abs(np.asarray(decoded).astype(int) - smooth).mean() < 4


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 8, 8, 3), (0, 8, 3)])
def test_encoding_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="uint8"):
        encode_image(np.zeros(shape, dtype=np.uint8))


def test_encoding_refuses_floats_and_unknown_formats():
    with pytest.raises(ValueError, match="float32"):
        encode_image(torch.zeros(8, 8, 3))
    with pytest.raises(ValueError, match="gif"):
        encode_image(np.zeros((8, 8, 3), dtype=np.uint8), "gif")
