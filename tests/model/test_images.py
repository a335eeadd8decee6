"""Pictures that come in: formats, limits, damage, orientation, transparency."""

import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from images.bounds import MAX_IMAGE_BYTES
from model.images import ImageError, open_image, to_square_pixels
from tests.model.picture_files import file_of, noise

FORMATS = ["PNG", "JPEG", "WEBP"]


def reason_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(data)
    return caught.value.reason


def png_of_declared_size(width, height) -> bytes:
    """A valid header and hardly any data."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0")),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("fixture", ["tiny_v1", "tiny_v2"])
def test_preprocessing_equals_the_reference(fixture, request):
    folder = request.getfixturevalue(fixture)
    expected = load_file(folder / "expected.safetensors")["vae.pixels_in"]
    for index, pixels in enumerate(expected):
        picture = open_image((folder / f"picture{index}.png").read_bytes())
        assert torch.equal(to_square_pixels(picture, 32), pixels)


@pytest.mark.parametrize("image_format", FORMATS)
def test_allowed_formats_are_decoded_to_rgb(image_format):
    picture = open_image(file_of(noise(40, 30), image_format))
    assert (picture.mode, picture.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF", "PPM", "ICO", "AVIF"])
def test_other_formats_are_refused_before_decoding(image_format):
    assert reason_of(file_of(noise(40, 30), image_format)) == "unsupported_format"


def test_format_is_told_by_content_not_by_what_pillow_could_open():
    disguised = b"\x89PNG\r\n\x1a\n" + file_of(noise(40, 30), "BMP")
    assert reason_of(disguised) == "damaged"


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((15, 40), "too_small"),
        ((8193, 600), "too_large"),
        ((5001, 5000), "too_large"),
        ((600, 37), "too_long"),
    ],
)
def test_sizes_beyond_the_limits_are_refused_by_the_header_alone(size, reason):
    assert reason_of(png_of_declared_size(*size)) == reason
    assert reason_of(png_of_declared_size(*reversed(size))) == reason


def test_declared_size_of_a_decompression_bomb_is_refused():
    assert reason_of(png_of_declared_size(60_000, 60_000)) == "too_large"


@pytest.mark.parametrize("lossless", [True, False])
def test_oversized_webp_is_refused_before_its_canvas_is_allocated(lossless):
    data = bytearray(file_of(noise(40, 30), "WEBP", lossless=lossless))
    if lossless:
        assert data[12:16] == b"VP8L"
        data[21:25] = (16_382 | 16_382 << 14).to_bytes(4, "little")
    else:
        assert data[12:16] == b"VP8 "
        data[26:30] = struct.pack("<HH", 16_383, 16_383)
    assert reason_of(bytes(data)) == "too_large"


def test_oversized_extended_webp_is_refused():
    data = bytearray(file_of(noise(40, 30, 4), "WEBP"))
    assert data[12:16] == b"VP8X"
    data[24:30] = (16_000).to_bytes(3, "little") * 2
    assert reason_of(bytes(data)) == "too_large"


def test_limits_themselves_are_allowed():
    assert open_image(file_of(Image.new("L", (16, 256)))).size == (16, 256)
    assert open_image(file_of(Image.new("L", (8192, 512)))).size == (8192, 512)


def test_large_file_is_refused_unread():
    assert reason_of(b"\x89PNG\r\n\x1a\n" + bytes(MAX_IMAGE_BYTES)) == "too_many_bytes"


def test_empty_file_is_refused():
    assert reason_of(b"") == "empty"


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_animation_is_refused(image_format):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = file_of(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert reason_of(data) == "animated"


def test_first_picture_of_a_phones_multi_picture_jpeg_is_read():
    first, second = Image.new("RGB", (32, 24), "red"), Image.new("RGB", (16, 16), "blue")
    data = file_of(first, "MPO", save_all=True, append_images=[second])
    assert data.startswith(b"\xff\xd8\xff")
    picture = open_image(data)
    assert picture.size == (32, 24)
    assert picture.getpixel((3, 3))[0] > 200


@pytest.mark.parametrize("image_format", FORMATS)
def test_file_cut_short_is_refused(image_format):
    data = file_of(noise(64, 64), image_format)
    assert reason_of(data[: len(data) // 2]) == "damaged"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_raise_only_picture_errors(image_format, draw):
    data = bytearray(file_of(noise(24, 24), image_format))
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        picture = open_image(bytes(data))
    except ImageError:
        return
    assert picture.mode == "RGB"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.binary(max_size=64))
@settings(max_examples=100, deadline=None)
def test_bytes_after_a_signature_raise_only_picture_errors(tail):
    for start in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x20\0\0\0WEBP", b""):
        with pytest.raises(ImageError):
            open_image(start + tail)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = noise(40, 24)
    # The camera stores the picture so that applying the orientation gives the upright one.
    stored_turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    turn = stored_turns.get(orientation)
    stored = upright if turn is None else upright.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = open_image(file_of(stored, "PNG", exif=exif))
    assert np.array_equal(np.asarray(picture), np.asarray(upright))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_counts_as_upright():
    data = file_of(noise(40, 24), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert open_image(data).size == (40, 24)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_transparency_is_flattened_on_white(mode):
    picture = Image.new("RGBA", (32, 32), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 16, 32))
    if mode == "P":
        picture = picture.quantize(4)
    elif mode == "PA":
        picture = picture.quantize(4).convert("PA")
        picture.putalpha(Image.new("L", (32, 32), 0))
        result = open_image(file_of(picture.convert("RGBA")))
        assert result.getpixel((20, 20)) == (255, 255, 255)
        return
    else:
        picture = picture.convert(mode)
    result = open_image(file_of(picture))
    assert result.getpixel((4, 4)) == (255, 255, 255)
    assert result.getpixel((20, 20)) != (255, 255, 255)


def test_transparent_colour_of_an_opaque_mode_is_flattened_on_white():
    picture = Image.new("RGB", (32, 32), (10, 20, 30))
    result = open_image(file_of(picture, "PNG", transparency=(10, 20, 30)))
    assert result.getpixel((4, 4)) == (255, 255, 255)


def test_half_transparency_is_mixed_with_white():
    result = open_image(file_of(Image.new("RGBA", (32, 32), (0, 0, 0, 128))))
    assert result.getpixel((4, 4)) == (127, 127, 127)


def test_sixteen_bit_greys_are_scaled_not_cut_off():
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    result = np.asarray(open_image(file_of(Image.fromarray(ramp))))
    assert np.array_equal(result[..., 0].flatten(), np.arange(256))


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_other_modes_become_rgb(mode):
    image_format = "JPEG" if mode == "CMYK" else "PNG"
    assert open_image(file_of(noise(32, 32).convert(mode), image_format)).mode == "RGB"
