"""Faults end the work that they belong to, and nothing else."""

from model.layout import Segment
from model.rudolph import Rudolph
from tests.workers.engine.works import alone, classifying, drawing, drive, results
from workers.engine.engine import Engine
from workers.engine.work import (
    DecodePictures,
    EncodePictures,
    Generate,
    Sampling,
    Score,
    ScoredSequence,
    WorkFailed,
)

GREEDY = Sampling(1.0, 1, 1.0)


def test_unreadable_picture_touches_nobody_else(rudolph: Rudolph, engine: Engine) -> None:
    engine.submit("bad", EncodePictures((b"no picture",)))
    engine.submit("good", drawing(rudolph))
    done = results(drive(engine))
    assert str(done["bad"].codes[0]) == "the picture is neither PNG nor JPEG nor WebP"  # type: ignore[union-attr]
    assert done["good"] == alone(rudolph, drawing(rudolph))


def test_fault_of_the_picture_network_ends_its_work_alone(rudolph: Rudolph, engine: Engine) -> None:
    outside = (rudolph.config.image_codebook_size,) * rudolph.config.image_length
    engine.submit("bad", DecodePictures((outside,), "png"))
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
