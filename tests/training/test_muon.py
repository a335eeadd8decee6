"""Muon takes the steps of torch's class, in a number format that the processor computes fast."""

import pytest
import torch
from torch import Tensor, nn

from training.muon import Muon

SHAPES = ((24, 8), (8, 24), (24, 8), (12, 12))


def _matrices() -> list[nn.Parameter]:
    random = torch.Generator().manual_seed(5)
    return [nn.Parameter(torch.randn(shape, generator=random)) for shape in SHAPES]


def _train(optimizer: torch.optim.Optimizer, matrices: list[nn.Parameter], steps: int = 3) -> list[Tensor]:
    random = torch.Generator().manual_seed(6)
    for _ in range(steps):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=random)
        optimizer.step()
    return [matrix.detach() for matrix in matrices]


@pytest.mark.parametrize("is_fast", [False, True])
def test_steps_are_those_of_torch_up_to_the_rounding_of_bfloat16(
    is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.backends.precision.has_fast_bfloat16", lambda: is_fast)
    ours, theirs = _matrices(), _matrices()
    found = _train(Muon(ours, 0.05, 0.01, adjust_lr_fn="match_rms_adamw"), ours)
    expected = _train(torch.optim.Muon(theirs, 0.05, 0.01, adjust_lr_fn="match_rms_adamw"), theirs)
    for matrix, reference, start in zip(found, expected, _matrices(), strict=True):
        moved = (reference - start).norm()
        assert moved > 0.1
        assert (matrix - reference).norm() < 0.03 * moved


@pytest.mark.parametrize(("is_fast", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_the_processor_decides_about_the_number_format(
    is_fast: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.backends.precision.has_fast_bfloat16", lambda: is_fast)
    used: set[torch.dtype] = set()
    product = torch.baddbmm

    def note(*arguments: Tensor, **options: float) -> Tensor:
        used.add(arguments[0].dtype)
        return product(*arguments, **options)

    monkeypatch.setattr(torch, "baddbmm", note)
    matrices = _matrices()
    _train(Muon(matrices, lr=0.05), matrices, steps=1)
    assert used == {dtype}
