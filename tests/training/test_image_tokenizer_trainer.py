"""The image tokenizer learns, stops and goes on, and its codebook becomes a projection."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from model.config import VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.images import pixels_to_bytes, to_square_pixels
from tests.training.conftest import COLOURS, SHAPES, SIDE, draw
from training.codebook import MovingCodebook
from training.image_tokenizer_trainer import (
    ImageBatch,
    ImageTokenizerTrainer,
    TokenizerTraining,
    as_coded,
    has_nearest_projection,
    log_error,
    write_codebook,
)
from training.initialization import fresh_image_tokenizer
from training.loop import LoopSettings, run_loop
from training.optimizer import Optimizer, OptimizerSettings
from training.state import epoch_batch

CONFIG = VqganConfig(
    codebook_size=16,
    embed_dim=8,
    z_channels=8,
    resolution=SIDE,
    channels=8,
    channel_multipliers=(1, 1, 1, 2),
    num_res_blocks=1,
    attention_resolutions=(4,),
    num_groups=4,
)


def _pictures() -> Tensor:
    return torch.stack([to_square_pixels(draw(s, c), SIDE) for c in COLOURS.values() for s in SHAPES])


def _trainer(total_steps: int, unquantised_steps: int, *, muon: bool = False) -> ImageTokenizerTrainer:
    torch.manual_seed(0)
    pictures = _pictures()

    def batches(step: int, stream: str) -> ImageBatch:
        return ImageBatch(pictures[epoch_batch(0, step, 8, len(pictures), stream)])

    optimizer = OptimizerSettings(learning_rate=3e-3, warm_up_steps=5, muon=muon)
    settings = TokenizerTraining(total_steps, optimizer, unquantised_steps=unquantised_steps, bf16=False)
    return ImageTokenizerTrainer(ImageTokenizer(CONFIG), batches, settings)


def test_pictures_come_back_better_and_better_and_the_codes_are_those_of_the_served_class() -> None:
    trainer = _trainer(60, 30)
    decibels = [trainer.train_step(step)["db"] for step in range(60)]
    assert decibels[-1] > decibels[0] + 4
    tokenizer = trainer.finish()
    pixels = _pictures()
    with torch.no_grad():
        features = tokenizer.quant_conv(tokenizer.encoder(2 * pixels - 1)).permute(0, 2, 3, 1)
        distances = (features.unsqueeze(-2) - tokenizer.quantize.embed.weight).square().sum(-1)
    assert torch.equal(tokenizer.encode(pixels), distances.argmin(-1).flatten(1))
    error = (tokenizer.decode(tokenizer.encode(pixels)) - pixels).square().mean()
    assert float(-10 * error.log10()) > decibels[0] + 4


@pytest.mark.parametrize(("stop_at", "muon"), [(3, False), (8, False), (8, True)])
def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(
    stop_at: int, muon: bool, tmp_path: Path
) -> None:
    def run(folder: str, stops: list[int | None]) -> ImageTokenizer:
        trainer = _trainer(12, 5, muon=muon)
        for stop in stops:
            trainer = _trainer(12, 5, muon=muon)
            loop = LoopSettings(total_steps=12, stop_after_steps=stop)
            run_loop(trainer, tmp_path / folder, loop, {}, lambda _: None)
        return trainer.finish()

    whole = run("whole", [None]).state_dict()
    parts = run("parts", [stop_at, None]).state_dict()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_muon_moves_filters_as_it_moves_matrices() -> None:
    filters = nn.Parameter(torch.randn(6, 4, 3, 3))
    matrix = nn.Parameter(filters.detach().flatten(1).clone())
    before = filters.detach().clone()
    settings = OptimizerSettings(learning_rate=0.1, warm_up_steps=1, muon=True)
    for parameter in (filters, matrix):
        optimizer = Optimizer([parameter], settings, 10, matrices=[parameter])
        for step in range(3):
            parameter.grad = torch.linspace(-1, 2, 216).cos().mul(step + 1).view(parameter.shape)
            optimizer.step(step)
    assert torch.equal(filters.flatten(1), matrix)
    assert float((filters - before).detach().abs().mean()) > 0.01


def test_a_cell_takes_the_code_of_the_picture_that_is_named_for_it() -> None:
    vectors = torch.arange(3.0)[:, None, None, None] + torch.tensor([[0.0, 0.1], [0.2, 0.3]])
    drawn = torch.rand(2, 3, 2, 2)
    sources = torch.tensor([[[2, 0], [1, 1]], [[0, 0], [0, 2]]])
    arranged, target = ImageBatch(torch.rand(3, 3, 2, 2), drawn, sources).arranged(vectors)
    assert (
        arranged[:, 0].tolist() == torch.tensor([[[2.0, 0.1], [1.2, 1.3]], [[0.0, 0.1], [0.2, 2.3]]]).tolist()
    )
    assert torch.equal(target, drawn)
    alone = ImageBatch(drawn)
    assert alone.arranged(vectors) == (vectors, drawn)


def test_codes_can_be_composed_of_a_thing_and_a_background_where_that_was_trained() -> None:
    assert _composed_decibels(compose=True) > _composed_decibels(compose=False) + 1


def _composed_decibels(*, compose: bool) -> float:
    """How well codes of a thing on grey, with those of a pink ground around it, draw the thing on pink."""
    grey = _pictures()
    empty = (grey - grey[:1, :, :1, :1]).abs().amax(1) < 0.02
    colour = torch.tensor([1.0, 0.4, 0.7])[:, None, None]
    pink = torch.where(empty[:, None], colour, grey)
    cells = functional.avg_pool2d(empty[:, None].float(), SIDE // 4)[:, 0] == 1
    shown = torch.cat([grey, pink, colour.expand(1, 3, SIDE, SIDE)])
    own = torch.arange(len(shown) - 1)[:, None, None].expand(-1, 4, 4)
    sources = own.clone()
    if compose:
        sources[len(grey) :] = torch.where(cells, len(shown) - 1, own[: len(grey)])
    batch = ImageBatch(shown, shown[:-1], sources)
    optimizer = OptimizerSettings(learning_rate=3e-3, warm_up_steps=5)
    settings = TokenizerTraining(80, optimizer, unquantised_steps=20, bf16=False)
    trainer = ImageTokenizerTrainer(fresh_image_tokenizer(CONFIG, 0), lambda _step, _stream: batch, settings)
    for step in range(80):
        trainer.train_step(step)
    tokenizer = trainer.finish()
    codes = torch.where(cells.flatten(1), tokenizer.encode(shown[-1:]), tokenizer.encode(grey))
    return float(-10 * (tokenizer.decode(codes) - pink).square().mean().log10())


def test_with_fixed_codes_the_decoder_alone_learns() -> None:
    tokenizer = _trainer(10, 5).finish()
    pictures = _pictures()
    before = {name: tensor.clone() for name, tensor in tokenizer.state_dict().items()}
    codes = tokenizer.encode(pictures)
    settings = TokenizerTraining(
        40, OptimizerSettings(learning_rate=3e-3, warm_up_steps=5), bf16=False, fixed_codes=True
    )
    batches = ImageBatch(pictures)
    trainer = ImageTokenizerTrainer(tokenizer, lambda _step, _stream: batches, settings, resume_codebook=True)
    decibels = [trainer.train_step(step)["db"] for step in range(40)]
    assert decibels[-1] > decibels[0] + 1
    after = trainer.finish()
    moved = {name for name, tensor in after.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)
    assert torch.equal(after.encode(pictures), codes)


def test_log_error_is_the_signal_to_noise_ratio_in_other_units() -> None:
    drawn, target = torch.rand(3, 3, 8, 8) * 2 - 1, torch.rand(3, 3, 8, 8) * 2 - 1
    target[1] = drawn[1] + 0.01
    of_unit_pixels = ((drawn - target) / 2).square().mean(dim=(1, 2, 3))
    decibels = float(-10 * of_unit_pixels.log10().mean())
    in_nepers = float(log_error(drawn, target)) - math.log(4)
    assert -10 / math.log(10) * in_nepers == pytest.approx(decibels, rel=1e-5)


@pytest.mark.parametrize("dwt", [False, True])
def test_a_wavelet_decoder_draws_twice_what_the_encoder_reads(dwt: bool) -> None:
    config = replace(CONFIG, dwt=dwt, channel_multipliers=(1, 1, 2) if dwt else (1, 1, 1, 2))
    pixels = _pictures()
    coded = as_coded(pixels, config)
    tokenizer = fresh_image_tokenizer(config, 0)
    assert tokenizer.decode(tokenizer.encode(coded)).shape == pixels.shape
    served = [
        to_square_pixels(Image.fromarray(pixels_to_bytes(picture[None])[0].numpy()), coded.shape[-1])
        for picture in pixels
    ]
    assert float((coded - torch.stack(served)).abs().max()) < 0.01


def test_unused_codes_are_put_onto_features() -> None:
    codebook = MovingCodebook(num_codes=4, size=2, decay=0.5)
    codebook.start_from(torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]]))
    features = torch.randn(1, 2, 8, 8)
    for step in range(10):
        codebook.update(features, codebook.nearest(features))
        codebook.reseed(features, seed=0, step=step)
    assert codebook.num_used() == 4
    assert codebook.embedding.abs().max() < 10


def test_only_a_projection_onto_the_nearest_vector_is_taken_for_one() -> None:
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(CONFIG)
    assert not has_nearest_projection(tokenizer)
    write_codebook(tokenizer, torch.randn(16, 8))
    assert has_nearest_projection(tokenizer)
    assert has_nearest_projection(tokenizer.half().float())


@pytest.mark.parametrize(("is_fast", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_the_processor_decides_whether_products_are_bfloat16(
    is_fast: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.backends.precision.has_fast_bfloat16", lambda: is_fast)
    optimizer = OptimizerSettings(learning_rate=3e-3, warm_up_steps=5)
    pixels = ImageBatch(_pictures()[:2])
    tokenizer = ImageTokenizer(CONFIG)
    trainer = ImageTokenizerTrainer(tokenizer, lambda _step, _stream: pixels, TokenizerTraining(2, optimizer))
    seen: set[torch.dtype] = set()

    def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen.add(output.dtype)

    for layer in tokenizer.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    trainer.train_step(0)
    assert seen == {dtype}


def test_codes_can_move_to_another_cell() -> None:
    vectors = torch.arange(2 * 4).view(2, 1, 2, 2).float()
    batch = ImageBatch(
        pixels=torch.zeros(2, 3, 4, 4),
        drawn=torch.zeros(1, 3, 4, 4),
        sources=torch.tensor([[[0, 1], [1, 0]]]),
        cells=torch.tensor([[[3, 1], [0, 2]]]),
    )
    assert batch.arranged(vectors)[0].tolist() == [[[[3, 5], [4, 2]]]]
    # Without cells every code stays in its own.
    assert replace(batch, cells=None).arranged(vectors)[0].tolist() == [[[[0, 5], [6, 3]]]]
