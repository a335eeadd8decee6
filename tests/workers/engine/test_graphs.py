"""The CUDA backend in the engine draws the tokens of the reference backend, while sequences start and end.

On the CPU the steps run in Triton's interpreter, one kernel after the other; on a GPU as captured graphs.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: the CUDA backend is NOT tested")

from model.backends.cuda.backend import CudaBackend
from model.backends.cuda.capture import size_for
from model.backends.cuda.graphs import graph_sizes
from model.rudolph import Rudolph
from tests.support.architectures import random_transformer
from tests.support.sessions import small_rudolph
from tests.workers.engine.test_engine import captioning, continuing, drawing, drive, engine_of, results
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
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


def fused_engine_of(rudolph: Rudolph, num_slots: int = 6) -> tuple[Engine, CudaBackend]:
    """An engine on the CUDA backend, on the device of the network."""
    backend = CudaBackend(rudolph.transformer, rudolph.image_tokenizer)
    return Engine(rudolph, EngineSettings(num_slots, 100, image_threads=1), backend), backend


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
def test_fused_steps_draw_the_same_tokens_as_plain_ones(rudolph: Rudolph):
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
        "guided": drawing(rudolph, text="мяч", seeds=(3,), guidance=0.4, known_codes=kept),
        "texts": continuing(rudolph, seeds=(6,), max_tokens=6),
    }
    plain = run(engine_of(rudolph), works, later)
    assert run(fused_engine_of(rudolph)[0], works, later) == plain


def test_a_lone_row_finds_its_place_after_a_jump(tiny_v2: Path):
    """Decode, skip a run of forced codes, decode again. No other sequence causes a reload."""
    rudolph = narrow(tiny_v2)
    width = rudolph.config.image_width
    kept = tuple(place % 5 if place // width == 1 else None for place in range(width**2))
    alone = run(engine_of(rudolph), {"kept": drawing(rudolph, seeds=(4,), known_codes=kept)}, {})
    # With a picture beside it that starts later, every step sees another set of rows.
    beside: dict[str, Work] = {
        f"other {number}": drawing(rudolph, text="мяч", seeds=(number,)) for number in range(2)
    }
    together = run(
        engine_of(rudolph, num_slots=2), {"kept": drawing(rudolph, seeds=(4,), known_codes=kept)}, beside
    )
    assert alone["kept"] == together["kept"]


@interpreted
def test_parameters_are_uploaded_only_when_sequences_come_or_go(
    tiny_v2: Path, monkeypatch: pytest.MonkeyPatch
):
    rudolph = narrow(tiny_v2)
    engine, backend = fused_engine_of(rudolph)
    loads: list[int] = []
    lane = backend._graphs.images
    load = lane._load
    monkeypatch.setattr(lane, "_load", lambda batch, size: (loads.append(size), load(batch, size)))
    engine.submit("one", drawing(rudolph, seeds=(1, 2)))
    drive(engine)
    engine.close()
    assert loads == [2]


def test_graphs_hold_every_number_of_sequences():
    for most in (2, 3, 16, 100, 256, 400):
        sizes = graph_sizes(most)
        assert sizes[-1] == most
        assert list(sizes) == sorted(set(sizes))
        for rows in range(1, most + 1):
            size = size_for(sizes, rows)
            assert size >= rows
            assert all(smaller < rows for smaller in sizes if smaller < size)
    with pytest.raises(ValueError, match="do not fit"):
        size_for((1, 2), 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="graphs are captured from compiled kernels"
)
def test_captured_graphs_draw_what_the_plain_steps_draw(tiny_v2: Path):
    """In float32 on both sides; the CPU's steps are the reference."""
    from model.files.checkpoint import load_rudolph

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
