"""Fused decode steps in the engine: the same tokens as the plain ones, whoever comes and goes.

On the CPU the steps run in Triton's interpreter, one kernel after the other; on a GPU as captured graphs.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: the fused decode steps are NOT tested")

from model.kernels.fused_step import FusedStep
from model.rudolph import Rudolph
from model.transformer import Transformer
from tests.model.architectures import random_transformer
from tests.workers.driving import small_rudolph
from tests.workers.engine.test_engine import captioning, continuing, drawing, drive, engine_of, results
from workers.engine import runner as runner_module
from workers.engine.engine import Engine
from workers.engine.graphs import StepGraphs, bucket_of, buckets_up_to
from workers.engine.work import Generate, Work, WorkResult

interpreted = pytest.mark.skipif(
    torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1",
    reason="this run has the compiled kernels; TRITON_INTERPRET=1 runs the interpreter's",
)


def narrow(folder: Path) -> Rudolph:
    """The small checkpoint with a still smaller network: the interpreter takes its time."""
    rudolph = small_rudolph(folder)
    config = replace(rudolph.config, num_layers=2, hidden_size=16, num_heads=1)
    return replace(rudolph, config=config, transformer=random_transformer(config, seed=8))


@pytest.fixture
def rudolph(tiny_v2: Path) -> Rudolph:
    return narrow(tiny_v2)


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Engines built from here on have fused steps on the CPU too."""

    def step_of(transformer: Transformer) -> FusedStep:
        return FusedStep(transformer)

    with monkeypatch.context() as patch:
        patch.setattr(runner_module, "make_fused_step", step_of)
        # On a GPU nothing is packed; here it would take the weights away.
        patch.setattr(Transformer, "pack", lambda self, *, int8=False: None)
        yield


def run(engine: Engine, works: dict[str, Work], later: dict[str, Work]) -> dict[str, WorkResult]:
    """Submit some works at once and the others a few steps later; what came of them all."""
    for owner, work in works.items():
        engine.submit(owner, work)
    events = [event for _ in range(3) for event in engine.step().events]
    for owner, work in later.items():
        engine.submit(owner, work)
    events += drive(engine)
    engine.close()
    return results(events)


@interpreted
def test_fused_steps_draw_the_same_tokens_as_plain_ones(rudolph: Rudolph, request: pytest.FixtureRequest):
    width = rudolph.config.image_width
    codes = [place % 7 for place in range(width**2)]
    # Short and long runs of kept cells inside: decoding, jumps, and decoding again.
    kept = tuple(
        code if place // width % 2 or place % width == 1 else None for place, code in enumerate(codes)
    )
    works: dict[str, Work] = {
        "pictures": drawing(rudolph, seeds=(1,)),
        "captions": captioning(rudolph, seeds=(5,), max_tokens=4),
    }
    later: dict[str, Work] = {
        "guided": drawing(rudolph, text="мяч", seeds=(3,), guidance=0.4, kept=kept),
        "texts": continuing(rudolph, seeds=(6,), max_tokens=6),
    }
    plain = run(engine_of(rudolph), works, later)
    request.getfixturevalue("fused")
    again = narrow(request.getfixturevalue("tiny_v2"))
    assert run(engine_of(again), works, later) == plain


def test_a_lone_row_finds_its_place_after_a_jump(tiny_v2: Path):
    """Decoding, a jump over given codes, decoding again: nobody else makes the runner look anew."""
    rudolph = narrow(tiny_v2)
    width = rudolph.config.image_width
    kept = tuple(place % 5 if place // width == 1 else None for place in range(width**2))
    alone = run(engine_of(rudolph), {"kept": drawing(rudolph, seeds=(4,), kept=kept)}, {})
    # With a picture beside it that starts later, every step sees another set of rows.
    beside: dict[str, Work] = {
        f"other {number}": drawing(rudolph, text="мяч", seeds=(number,)) for number in range(2)
    }
    together = run(engine_of(rudolph, num_slots=2), {"kept": drawing(rudolph, seeds=(4,), kept=kept)}, beside)
    assert alone["kept"] == together["kept"]


@interpreted
@pytest.mark.usefixtures("fused")
def test_settings_go_to_the_device_only_when_rows_come_or_go(tiny_v2: Path, monkeypatch: pytest.MonkeyPatch):
    rudolph = narrow(tiny_v2)
    engine = engine_of(rudolph)
    loads: list[int] = []
    lane = _graphs_of(engine)._images
    load = lane._load
    monkeypatch.setattr(
        lane, "_load", lambda rows, members, size: (loads.append(size), load(rows, members, size))
    )
    engine.submit("one", drawing(rudolph, seeds=(1, 2)))
    drive(engine)
    engine.close()
    assert loads == [2]


def _graphs_of(engine: Engine) -> StepGraphs:
    graphs = engine._runner._graphs
    assert graphs is not None
    return graphs


def test_buckets_hold_every_number_of_rows():
    for max_rows in (2, 3, 16, 100, 256, 400):
        buckets = buckets_up_to(max_rows)
        assert buckets[-1] == max_rows
        assert list(buckets) == sorted(set(buckets))
        for rows in range(1, max_rows + 1):
            size = bucket_of(buckets, rows)
            assert size >= rows
            assert all(smaller < rows for smaller in buckets if smaller < size)
    with pytest.raises(ValueError, match="do not fit"):
        bucket_of((1, 2), 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="graphs are captured from compiled kernels"
)
def test_captured_graphs_draw_what_the_plain_steps_draw(tiny_v2: Path):
    """In float32 on both sides; the CPU's plain steps are the measure."""
    from model.checkpoint import load_rudolph

    on_gpu = load_rudolph(tiny_v2, device="cuda", dtype="float32")
    on_cpu = small_rudolph(tiny_v2)

    def works(rudolph: Rudolph) -> dict[str, Work]:
        return {
            "pictures": drawing(rudolph, seeds=(1, 2, 3)),
            "guided": drawing(rudolph, text="мяч", seeds=(3,), guidance=0.4),
            "captions": captioning(rudolph),
            "texts": continuing(rudolph),
        }

    ours, theirs = (run(engine_of(rudolph), works(rudolph), {}) for rudolph in (on_gpu, on_cpu))
    assert ours == theirs
    assert isinstance(works(on_gpu)["texts"], Generate)
