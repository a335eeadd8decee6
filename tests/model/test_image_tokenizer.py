import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from model.config import VqganConfig
from model.image_tokenizer import ImageTokenizer

SMALL = VqganConfig(64, 32, 32, 32, 32, (1, 1, 1, 2), 1, (4,))
FEW_CHANNELS = VqganConfig(40, 6, 6, 32, 12, (1, 2, 1, 3), 1, (8,), num_groups=6)


def random_tokenizer(config) -> ImageTokenizer:
    torch.manual_seed(3)
    return ImageTokenizer(config).eval()


def official(folder) -> ImageTokenizer:
    tokenizer = ImageTokenizer(SMALL)
    file = torch.load(folder / "vqgan.gumbelf8-sber.model.ckpt", weights_only=True)
    tokenizer.load_state_dict(file["state_dict"], strict=True)
    return tokenizer.eval()


@pytest.mark.parametrize("fixture", ["tiny_v1", "tiny_v2"])
def test_codes_and_pixels_equal_the_reference(fixture, request):
    folder = request.getfixturevalue(fixture)
    expected = load_file(folder / "expected.safetensors")
    tokenizer = official(folder)
    assert torch.equal(tokenizer.encode(expected["vae.pixels_in"]), expected["vae.codes"])
    torch.testing.assert_close(
        tokenizer.decode(expected["vae.codes"]), expected["vae.decoded"], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("dwt", [False, True])
def test_sides_follow_the_codes_whatever_the_nominal_resolution(dwt):
    tokenizer = random_tokenizer(dataclasses.replace(SMALL, dwt=dwt))
    for rows, columns in [(1, 1), (2, 5), (7, 7)]:
        codes = torch.randint(64, (2, rows, columns))
        scale = 16 if dwt else 8
        assert tokenizer.decode(codes).shape == (2, 3, scale * rows, scale * columns)
        assert tokenizer.encode(torch.rand(2, 3, 8 * rows, 8 * columns)).shape == (2, rows * columns)


def test_flat_codes_are_the_rows_of_a_square():
    tokenizer = random_tokenizer(SMALL)
    codes = torch.randint(64, (1, 9))
    assert torch.equal(tokenizer.decode(codes), tokenizer.decode(codes.view(1, 3, 3)))


def test_codes_that_are_no_square_are_refused():
    with pytest.raises(ValueError, match="10 codes"):
        random_tokenizer(SMALL).decode(torch.zeros(1, 10, dtype=torch.long))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 32, 33), (1, 3, 30, 32)])
def test_pixels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="multiples of 8"):
        random_tokenizer(SMALL).encode(torch.zeros(shape))


@pytest.mark.parametrize("dwt", [False, True])
def test_few_channels_work_with_fewer_groups(dwt):
    tokenizer = random_tokenizer(dataclasses.replace(FEW_CHANNELS, dwt=dwt))
    codes = tokenizer.encode(torch.rand(1, 3, 32, 32))
    pixels = tokenizer.decode(codes)
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1


def test_channels_that_no_groups_fit_are_refused():
    with pytest.raises(ValueError, match="num_groups"):
        ImageTokenizer(dataclasses.replace(FEW_CHANNELS, num_groups=32))


def test_projection_must_fit_what_it_is_fed():
    with pytest.raises(ValueError, match="embed_dim"):
        ImageTokenizer(dataclasses.replace(SMALL, embed_dim=16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dwt", [False, True])
def test_half_precision_stays_near_float32(dtype, dwt):
    tokenizer = random_tokenizer(dataclasses.replace(SMALL, dwt=dwt))
    codes = torch.randint(64, (2, 16))
    expected = tokenizer.decode(codes)
    pixels = tokenizer.to(dtype).decode(codes)
    assert pixels.dtype == torch.float32
    assert float((pixels - expected).abs().mean()) < 0.02
    assert tokenizer.encode(expected[..., :32, :32]).shape == (2, 16)


def test_encoder_and_decoder_may_differ_in_dtype():
    tokenizer = random_tokenizer(SMALL)
    pixels = torch.rand(1, 3, 32, 32)
    codes = tokenizer.encode(pixels)
    tokenizer.decoder.to(torch.bfloat16)
    tokenizer.post_quant_conv.to(torch.bfloat16)
    assert torch.equal(tokenizer.encode(pixels), codes)
    assert tokenizer.decode(codes).dtype == torch.float32


def test_batch_mates_do_not_change_a_picture():
    tokenizer = random_tokenizer(SMALL)
    codes = torch.randint(64, (3, 16))
    together = tokenizer.decode(codes)
    alone = torch.cat([tokenizer.decode(row[None]) for row in codes])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_gradients_flow_through_both_halves():
    tokenizer = random_tokenizer(FEW_CHANNELS)
    logits = tokenizer.code_logits(torch.rand(1, 3, 16, 16))
    vectors = torch.einsum("bnhw,nd->bdhw", logits.softmax(1), tokenizer.quantize.embed.weight)
    tokenizer.decode_vectors(vectors).square().mean().backward()
    untouched = [name for name, weight in tokenizer.named_parameters() if weight.grad is None]
    assert untouched == []
