"""Faults end the work that they belong to, and nothing else."""

import pytest
import torch

from model.backends.base import DrawnTokens
from model.backends.batches import DecodeBatch
from model.network.layout import Segment
from model.rudolph import Rudolph
from tests.workers.engine.works import alone, classifying, drawing, drive, results
from workers.engine.engine import Engine
from workers.engine.work import (
    DecodeImages,
    EncodeImages,
    Generate,
    Sampling,
    Score,
    ScoredSequence,
    WorkFailed,
)

GREEDY = Sampling(1.0, 1, 1.0)


def test_unreadable_picture_touches_nobody_else(rudolph: Rudolph, engine: Engine) -> None:
    engine.submit("bad", EncodeImages((b"no picture",)))
    engine.submit("good", drawing(rudolph))
    done = results(drive(engine))
    (fault,) = done["bad"].codes  # type: ignore[union-attr]
    assert str(fault).startswith("The image is not a PNG, JPEG or WebP file.")
    assert done["good"] == alone(rudolph, drawing(rudolph))


def test_fault_of_the_picture_network_ends_its_work_alone(rudolph: Rudolph, engine: Engine) -> None:
    outside = (rudolph.config.image_codebook_size,) * rudolph.config.image_length
    engine.submit("bad", DecodeImages((outside,), "png"))
    engine.submit("good", drawing(rudolph))
    events = drive(engine)
    assert [event.owner for event in events if isinstance(event, WorkFailed)] == ["bad"]
    assert results(events)["good"] == alone(rudolph, drawing(rudolph))


def test_fault_in_a_prompt_ends_its_work_alone(rudolph: Rudolph, engine: Engine) -> None:
    outside = Generate(Segment.IMAGE, (10**6,) * rudolph.config.left_text_length, (1, 2), GREEDY)
    engine.submit("good", drawing(rudolph))
    engine.step()
    engine.submit("bad", outside)
    events = drive(engine)
    assert [event.owner for event in events if isinstance(event, WorkFailed)] == ["bad"]
    assert results(events)["good"] == alone(rudolph, drawing(rudolph))
    assert engine.step().statistics.slots_used == 0


def test_fault_in_a_run_of_known_codes_ends_its_work_alone(
    rudolph: Rudolph, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run allocates memory, as a prompt does; a device may have none left."""
    width = rudolph.config.image_width
    codes = tuple(cell % 5 if cell // width == 1 else None for cell in range(width**2))

    def no_memory(_batch: DecodeBatch, _length: int) -> DrawnTokens:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(engine._backend, "decode_forced", no_memory)
    engine.submit("good", drawing(rudolph))
    engine.submit("known", drawing(rudolph, known_codes=codes))
    events = drive(engine)
    assert [event.owner for event in events if isinstance(event, WorkFailed)] == ["known"]
    assert results(events)["good"] == alone(rudolph, drawing(rudolph))
    assert engine.step().statistics.slots_used == 0


def test_fault_in_scoring_ends_its_work_alone(rudolph: Rudolph, engine: Engine) -> None:
    good = classifying(rudolph)
    bad = Score(tuple(ScoredSequence(s.left, s.image, (2, 10**6, 3)) for s in good.sequences), right=True)
    engine.submit("bad", bad)
    engine.submit("good", good)
    engine.submit("picture", drawing(rudolph))
    events = drive(engine)
    assert [event.owner for event in events if isinstance(event, WorkFailed)] == ["bad"]
    assert results(events).keys() == {"good", "picture"}
    assert engine.step().statistics.slots_used == 0
