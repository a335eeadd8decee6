import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from model.images import (
    MAX_PICTURE_BYTES,
    PictureError,
    encode_picture,
    open_picture,
    pixels_to_bytes,
    redrawn_cells,
    to_square_pixels,
)

FORMATS = ["PNG", "JPEG", "WEBP"]


def file_of(picture, picture_format="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, picture_format, **options)
    return buffer.getvalue()


def noise(width, height, channels=3) -> Image.Image:
    values = np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(values)


def reason_of(data: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(data)
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
        picture = open_picture((folder / f"picture{index}.png").read_bytes())
        assert torch.equal(to_square_pixels(picture, 32), pixels)


@pytest.mark.parametrize("picture_format", FORMATS)
def test_allowed_formats_are_decoded_to_rgb(picture_format):
    picture = open_picture(file_of(noise(40, 30), picture_format))
    assert (picture.mode, picture.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("picture_format", ["GIF", "BMP", "TIFF", "PPM", "ICO", "AVIF"])
def test_other_formats_are_refused_before_decoding(picture_format):
    assert reason_of(file_of(noise(40, 30), picture_format)) == "unsupported_format"


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
    assert open_picture(file_of(Image.new("L", (16, 256)))).size == (16, 256)
    assert open_picture(file_of(Image.new("L", (8192, 512)))).size == (8192, 512)


def test_large_file_is_refused_unread():
    assert reason_of(b"\x89PNG\r\n\x1a\n" + bytes(MAX_PICTURE_BYTES)) == "too_many_bytes"


def test_empty_file_is_refused():
    assert reason_of(b"") == "empty"


@pytest.mark.parametrize("picture_format", ["PNG", "WEBP"])
def test_animation_is_refused(picture_format):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = file_of(frames[0], picture_format, save_all=True, append_images=frames[1:])
    assert reason_of(data) == "animated"


def test_first_picture_of_a_phones_multi_picture_jpeg_is_read():
    first, second = Image.new("RGB", (32, 24), "red"), Image.new("RGB", (16, 16), "blue")
    data = file_of(first, "MPO", save_all=True, append_images=[second])
    assert data.startswith(b"\xff\xd8\xff")
    picture = open_picture(data)
    assert picture.size == (32, 24)
    assert picture.getpixel((3, 3))[0] > 200


def test_jpeg_of_very_many_scans_is_refused():
    data = file_of(noise(32, 32), "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    assert open_picture(data).size == (32, 32)
    assert reason_of(data[:start] + data[start : start + 20] * 200 + data[start:]) == "damaged"


@pytest.mark.parametrize("picture_format", FORMATS)
def test_file_cut_short_is_refused(picture_format):
    data = file_of(noise(64, 64), picture_format)
    assert reason_of(data[: len(data) // 2]) == "damaged"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_raise_only_picture_errors(picture_format, draw):
    data = bytearray(file_of(noise(24, 24), picture_format))
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        picture = open_picture(bytes(data))
    except PictureError:
        return
    assert picture.mode == "RGB"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.binary(max_size=64))
@settings(max_examples=100, deadline=None)
def test_bytes_after_a_signature_raise_only_picture_errors(tail):
    for start in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x20\0\0\0WEBP", b""):
        with pytest.raises(PictureError):
            open_picture(start + tail)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = noise(40, 24)
    # The camera stores the picture so that applying the orientation gives the upright one.
    stored_turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    turn = stored_turns.get(orientation)
    stored = upright if turn is None else upright.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = open_picture(file_of(stored, "PNG", exif=exif))
    assert np.array_equal(np.asarray(picture), np.asarray(upright))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_counts_as_upright():
    data = file_of(noise(40, 24), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert open_picture(data).size == (40, 24)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_transparency_is_flattened_on_white(mode):
    picture = Image.new("RGBA", (32, 32), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 16, 32))
    if mode == "P":
        picture = picture.quantize(4)
    elif mode == "PA":
        picture = picture.quantize(4).convert("PA")
        picture.putalpha(Image.new("L", (32, 32), 0))
        result = open_picture(file_of(picture.convert("RGBA")))
        assert result.getpixel((20, 20)) == (255, 255, 255)
        return
    else:
        picture = picture.convert(mode)
    result = open_picture(file_of(picture))
    assert result.getpixel((4, 4)) == (255, 255, 255)
    assert result.getpixel((20, 20)) != (255, 255, 255)


def test_transparent_colour_of_an_opaque_mode_is_flattened_on_white():
    picture = Image.new("RGB", (32, 32), (10, 20, 30))
    result = open_picture(file_of(picture, "PNG", transparency=(10, 20, 30)))
    assert result.getpixel((4, 4)) == (255, 255, 255)


def test_half_transparency_is_mixed_with_white():
    result = open_picture(file_of(Image.new("RGBA", (32, 32), (0, 0, 0, 128))))
    assert result.getpixel((4, 4)) == (127, 127, 127)


def test_sixteen_bit_greys_are_scaled_not_cut_off():
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    result = np.asarray(open_picture(file_of(Image.fromarray(ramp))))
    assert np.array_equal(result[..., 0].flatten(), np.arange(256))


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_other_modes_become_rgb(mode):
    picture_format = "JPEG" if mode == "CMYK" else "PNG"
    assert open_picture(file_of(noise(32, 32).convert(mode), picture_format)).mode == "RGB"


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
    with Image.open(io.BytesIO(encode_picture(values))) as decoded:
        decoded.verify()
    with Image.open(io.BytesIO(encode_picture(values))) as decoded:
        assert (decoded.format, decoded.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(decoded), values)


def test_png_of_a_strided_view_is_of_what_the_view_shows():
    values = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    view = values[::-1, ::2]
    with Image.open(io.BytesIO(encode_picture(view))) as decoded:
        assert np.array_equal(np.asarray(decoded), view)


@pytest.mark.parametrize("picture_format", ["png", "jpeg", "webp"])
def test_encoded_pictures_have_the_format_asked_for_and_look_alike(picture_format):
    smooth = np.asarray(noise(8, 8).resize((64, 64), Image.Resampling.BICUBIC))
    data = encode_picture(torch.from_numpy(smooth.copy()), picture_format)
    decoded = Image.open(io.BytesIO(data))
    assert decoded.format == picture_format.upper()
    assert np.abs(np.asarray(decoded).astype(int) - smooth).mean() < 4


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 8, 8, 3), (0, 8, 3)])
def test_encoding_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="uint8"):
        encode_picture(np.zeros(shape, dtype=np.uint8))


def test_encoding_refuses_floats_and_unknown_formats():
    with pytest.raises(ValueError, match="float32"):
        encode_picture(torch.zeros(8, 8, 3))
    with pytest.raises(ValueError, match="gif"):
        encode_picture(np.zeros((8, 8, 3), dtype=np.uint8), "gif")


def mask_of(size, holes) -> bytes:
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    for hole in holes:
        mask.paste((0, 0, 0, 0), hole)
    return file_of(mask)


def test_mask_redraws_the_cells_that_it_touches():
    # One pixel in cell (0, 1), and a block over cells (2, 2), (2, 3), (3, 2), (3, 3).
    data = mask_of((32, 32), [(8, 0, 9, 1), (20, 20, 30, 30)])
    cells = redrawn_cells(data, (32, 32), 4)
    assert [index for index, redrawn in enumerate(cells) if redrawn] == [1, 10, 11, 14, 15]


def test_mask_of_an_oblong_picture_counts_within_the_centred_square():
    # The square is columns 20 … 59 of 80; the left hole lies outside of it.
    data = mask_of((80, 40), [(0, 0, 20, 40), (50, 30, 60, 40)])
    cells = redrawn_cells(data, (80, 40), 4)
    assert [index for index, redrawn in enumerate(cells) if redrawn] == [15]


def test_pixel_on_the_border_of_two_cells_redraws_both():
    # 33 pixels in 4 cells: pixel 8 covers 8 … 9, and the border is at 8.25.
    cells = redrawn_cells(mask_of((33, 33), [(8, 0, 9, 1)]), (33, 33), 4)
    assert [index for index, redrawn in enumerate(cells) if redrawn] == [0, 1]


def test_half_transparent_pixels_are_kept():
    data = file_of(Image.new("RGBA", (32, 32), (0, 0, 0, 1)))
    assert not any(redrawn_cells(data, (32, 32), 4))


def test_small_masks_have_a_flag_for_every_cell():
    cells = redrawn_cells(mask_of((16, 16), [(0, 0, 16, 16)]), (16, 16), 32)
    assert cells == [True] * 1024


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (file_of(Image.new("RGB", (32, 32))), "no_alpha"),
        (mask_of((32, 31), []), "mask_size"),
        (mask_of((32, 32), [])[:60], "damaged"),
    ],
)
def test_unusable_masks_are_refused(data, reason):
    with pytest.raises(PictureError) as caught:
        redrawn_cells(data, (32, 32), 4)
    assert caught.value.reason == reason
