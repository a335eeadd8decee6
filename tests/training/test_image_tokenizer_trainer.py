"""The image tokenizer learns, stops and goes on, and its codebook becomes a projection."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.config import VqganConfig
from model.image_tokenizer import ImageTokenizer
from tests.training.conftest import COLOURS, SHAPES, SIDE, draw
from training.codebook import MovingCodebook
from training.drawing_trainer import DrawingTrainer, DrawingTraining
from training.image_tokenizer_trainer import (
    ImageTokenizerTrainer,
    PictureBatch,
    TokenizerTraining,
    has_nearest_projection,
    write_codebook,
)
from training.loop import LoopSettings, run_loop
from training.optimizer import OptimizerSettings
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
    from model.images import to_square_pixels

    return torch.stack([to_square_pixels(draw(s, c), SIDE) for c in COLOURS.values() for s in SHAPES])


def _trainer(total_steps: int, unquantised_steps: int) -> ImageTokenizerTrainer:
    torch.manual_seed(0)
    pictures = _pictures()

    def batches(step: int, stream: str) -> PictureBatch:
        return PictureBatch(pictures[epoch_batch(0, step, 8, len(pictures), stream)])

    optimizer = OptimizerSettings(learning_rate=3e-3, warm_up_steps=5)
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


@pytest.mark.parametrize("stop_at", [3, 8])
def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(stop_at: int, tmp_path: Path) -> None:
    def run(folder: str, stops: list[int | None]) -> ImageTokenizer:
        trainer = _trainer(12, 5)
        for stop in stops:
            trainer = _trainer(12, 5)
            loop = LoopSettings(total_steps=12, stop_after_steps=stop)
            run_loop(trainer, tmp_path / folder, loop, {}, lambda _: None)
        return trainer.finish()

    whole = run("whole", [None]).state_dict()
    parts = run("parts", [stop_at, None]).state_dict()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_swapped_cells_are_drawn_from_the_twin_and_towards_the_twin() -> None:
    pixels = torch.rand(4, 3, 2, 2)
    vectors = torch.arange(4.0)[:, None, None, None].expand(4, 1, 2, 2)
    swapped = torch.zeros(4, 2, 2, dtype=torch.bool)
    swapped[:2, 0] = True
    mixed, target = PictureBatch(pixels, swapped).swap(vectors)
    assert mixed[:, 0].tolist() == [[[1, 1], [0, 0]], [[0, 0], [1, 1]], [[2, 2]] * 2, [[3, 3]] * 2]
    assert torch.equal(target, pixels[[1, 0, 2, 3]])


def test_twins_teach_codes_that_can_be_composed_of_a_thing_and_a_background() -> None:
    assert _composed_decibels(swap=True) > _composed_decibels(swap=False) + 1


def _composed_decibels(*, swap: bool) -> float:
    """How well codes of a thing on grey, with those of a pink ground around it, draw the thing on pink."""
    torch.manual_seed(0)
    grey = _pictures()
    empty = (grey - grey[:1, :, :1, :1]).abs().amax(1) < 0.02
    pink = torch.where(empty[:, None], torch.tensor([1.0, 0.4, 0.7])[:, None, None], grey)
    twins = torch.stack([grey, pink], dim=1).flatten(0, 1)
    cells = functional.avg_pool2d(empty[:, None].float(), SIDE // 4)[:, 0] == 1
    batch = PictureBatch(twins, cells.repeat_interleave(2, dim=0) if swap else None)
    optimizer = OptimizerSettings(learning_rate=3e-3, warm_up_steps=5)
    settings = TokenizerTraining(80, optimizer, unquantised_steps=20, bf16=False)
    trainer = ImageTokenizerTrainer(ImageTokenizer(CONFIG), lambda _step, _stream: batch, settings)
    for step in range(80):
        trainer.train_step(step)
    tokenizer = trainer.finish()
    composed = torch.where(cells.flatten(1), tokenizer.encode(pink), tokenizer.encode(grey))
    return float(-10 * (tokenizer.decode(composed) - pink).square().mean().log10())


def test_the_decoder_alone_learns_to_draw_other_pictures_from_the_same_codes() -> None:
    tokenizer = _trainer(10, 5).finish()
    pictures, codes = _pictures(), torch.arange(8)[:, None].expand(8, 16)
    before = {name: tensor.clone() for name, tensor in tokenizer.state_dict().items()}
    settings = DrawingTraining(40, OptimizerSettings(learning_rate=3e-3, warm_up_steps=5), bf16=False)
    trainer = DrawingTrainer(tokenizer, lambda _step, _stream: (codes, pictures), settings)
    decibels = [trainer.train_step(step)["db"] for step in range(40)]
    assert decibels[-1] > decibels[0] + 1
    moved = {name for name, tensor in tokenizer.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)


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
