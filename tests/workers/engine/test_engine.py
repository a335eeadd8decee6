"""The engine on small networks: other sequences change no result, no work is lost, no slot leaks."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from model.network.layout import Segment
from model.network.sampler import noise
from model.rudolph import Rudolph
from model.tasks import Prompts
from tests.support.sessions import small_rudolph
from tests.workers.engine.works import (
    all_works,
    alone,
    assert_same,
    captioning,
    continuing,
    drawing,
    drive,
    engine_of,
    results,
)
from workers.engine.engine import Engine
from workers.engine.work import (
    EngineEvent,
    Generate,
    Generated,
    PartialImageFile,
    PartialTokens,
    Sampling,
    WorkProgress,
    WorkResult,
)


@pytest.fixture(scope="module")
def second(tiny_v2: Path) -> Rudolph:
    return small_rudolph(tiny_v2)


@pytest.fixture(scope="module")
def expected(rudolph: Rudolph) -> dict[str, WorkResult]:
    """What everyone gets alone."""
    return {owner: alone(rudolph, work) for owner, work in all_works(rudolph).items()}


def test_mixed_batch_gives_everyone_what_they_get_alone(
    rudolph: Rudolph, engine: Engine, expected: dict[str, WorkResult]
) -> None:
    works = all_works(rudolph)
    for owner, work in works.items():
        engine.submit(owner, work)
    mixed = results(drive(engine))
    assert mixed.keys() == works.keys()
    for owner, result in expected.items():
        assert_same(mixed[owner], result)


def test_number_of_slots_and_budget_change_no_result(rudolph: Rudolph) -> None:
    for work in all_works(rudolph).values():
        expected = alone(rudolph, work, num_slots=16, step_tokens=10_000)
        assert_same(alone(rudolph, work, num_slots=2, step_tokens=1), expected)


def test_joining_between_steps_changes_nothing(
    rudolph: Rudolph, engine: Engine, expected: dict[str, WorkResult]
) -> None:
    works = all_works(rudolph)
    events: list[EngineEvent] = []
    for owner, work in works.items():
        engine.submit(owner, work)
        for _ in range(3):
            events += engine.step().events
    joined = results(events + drive(engine))
    for owner, result in expected.items():
        assert_same(joined[owner], result)


def test_leaving_between_steps_changes_nothing_for_who_stays(
    rudolph: Rudolph, engine: Engine, expected: dict[str, WorkResult]
) -> None:
    works = all_works(rudolph)
    for owner, work in works.items():
        engine.submit(owner, work)
        engine.submit(f"{owner} that leaves", work)
    events: list[EngineEvent] = []
    for owner in works:
        events += engine.step().events
        engine.cancel(f"{owner} that leaves")
    stayed = results(events + drive(engine))
    for owner, result in expected.items():
        assert_same(stayed[owner], result)


def test_each_candidate_can_be_drawn_again_alone_by_its_seed(rudolph: Rudolph) -> None:
    together = alone(rudolph, drawing(rudolph, seeds=(5, 6, 7)))
    assert isinstance(together, Generated)
    for seed, codes in zip((5, 6, 7), together.candidates, strict=True):
        again = alone(rudolph, drawing(rudolph, seeds=(seed,)))
        assert isinstance(again, Generated)
        assert again.candidates == (codes,)
    assert len(set(together.candidates)) == 3


def test_more_candidates_than_slots_run_in_waves(rudolph: Rudolph) -> None:
    seeds = tuple(range(11))
    few = alone(rudolph, drawing(rudolph, seeds=seeds), num_slots=3)
    assert few == alone(rudolph, drawing(rudolph, seeds=seeds), num_slots=16)


def test_guided_draws_follow_the_reference_probabilities(second: Rudolph, tiny_v2: Path) -> None:
    """Cell by cell along the reference's picture: its mixed probabilities and our noise give our draw."""
    tensors = load_file(tiny_v2 / "expected.safetensors")
    codes = tensors["text2image.greedy.0"][0].tolist()
    probabilities = tensors["guidance.w0.3_k16_p0.9_t0.8.probs"]
    seeds = tuple(range(20))
    for cell, row in enumerate(probabilities):
        kept = tuple(None if place == cell else code for place, code in enumerate(codes))
        prompts = Prompts(second.config, second.text_tokenizer)
        work = Generate(
            Segment.IMAGE,
            prompts.text2image_left("красный круг на белом фоне"),
            seeds,
            Sampling(0.8, 16, 0.9),
            known_codes=kept,
            guidance=0.3,
            uncond_left=prompts.uncond_left(),
        )
        drawn = alone(second, work, num_slots=12)
        assert isinstance(drawn, Generated)
        gumbel = noise(
            torch.tensor(seeds),
            torch.full((len(seeds),), second.config.image_start + cell),
            second.config.image_codebook_size,
        )
        expected = (row.log() + gumbel).argmax(dim=1).tolist()
        assert [candidate[cell] for candidate in drawn.candidates] == expected


def test_texts_end_at_eos_and_give_their_slot_back_at_once(rudolph: Rudolph, engine: Engine) -> None:
    engine.submit("texts", continuing(rudolph, tuple(range(6))))
    used: list[int] = []
    events: list[EngineEvent] = []
    while engine.has_work:
        output = engine.step()
        used.append(output.statistics.slots_used)
        events += output.events
    written = results(events)["texts"]
    assert isinstance(written, Generated)
    lengths = sorted({len(ids) for ids in written.candidates})
    for ids in written.candidates:
        assert ids.count(3) == (ids[-1] == 3)
        assert ids[-1] == 3 or len(ids) == rudolph.config.left_text_length
    if len(lengths) > 1:
        assert len(set(used)) > 2, "rows that ended early must leave early"


def test_progress_counts_rows_of_all_pictures(rudolph: Rudolph, engine: Engine) -> None:
    engine.submit("a", drawing(rudolph, seeds=(1, 2, 3)))
    told = [(e.done, e.total) for e in drive(engine) if isinstance(e, WorkProgress)]
    total = 3 * rudolph.config.image_width
    assert told[-1] == (total, total)
    assert all(before < after for (before, _), (after, _) in itertools.pairwise(told))
    assert len(told) == rudolph.config.image_width


def test_partial_pictures_come_before_the_picture(rudolph: Rudolph, engine: Engine) -> None:
    work = drawing(rudolph, seeds=(1, 2, 3), partial_images=3, partial_candidates=2)
    engine.submit("a", work)
    partial = [event for event in drive(engine) if isinstance(event, PartialImageFile)]
    for candidate in (0, 1):
        own = [event for event in partial if event.candidate == candidate]
        assert [event.partial_index for event in own] == [0, 1, 2]
    assert {event.candidate for event in partial} == {0, 1}


def test_streamed_texts_grow(rudolph: Rudolph, engine: Engine) -> None:
    engine.submit("a", captioning(rudolph, tuple(range(6)), stream_tokens=True))
    events = drive(engine)
    streamed = [event for event in events if isinstance(event, PartialTokens)]
    whole = results(events)["a"]
    assert isinstance(whole, Generated)
    assert streamed
    for candidate, ids in enumerate(whole.candidates):
        own = [event.ids for event in streamed if event.candidate == candidate]
        for shorter, longer in itertools.pairwise([*own, ids]):
            assert len(shorter) < len(longer)
            assert longer[: len(shorter)] == shorter


def test_owner_has_one_work_at_a_time(rudolph: Rudolph, engine: Engine) -> None:
    engine.submit("a", drawing(rudolph))
    with pytest.raises(ValueError, match="has work in the engine already"):
        engine.submit("a", captioning(rudolph))


def test_time_is_shared_among_owners(rudolph: Rudolph, engine: Engine) -> None:
    engine.submit("two", drawing(rudolph, seeds=(1, 2)))
    engine.submit("one", drawing(rudolph, seeds=(3,)))
    drive(engine)
    two, one = engine.take_seconds("two"), engine.take_seconds("one")
    assert two > one > 0
    assert engine.take_seconds("two") == 0


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_schedules_change_no_result_and_give_every_slot_back(
    rudolph: Rudolph, expected: dict[str, WorkResult], data: st.DataObject
) -> None:
    engine = engine_of(
        rudolph, num_slots=data.draw(st.integers(2, 6)), step_tokens=data.draw(st.integers(1, 90))
    )
    works = all_works(rudolph)
    waiting: set[str] = set()
    done: dict[str, WorkResult] = {}
    names: dict[str, str] = {}
    for number in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.sampled_from(sorted(works)))
        owner = f"{number} {kind}"
        engine.submit(owner, works[kind], priority=data.draw(st.integers(-2, 2)))
        names[owner] = kind
        waiting.add(owner)
        for _ in range(data.draw(st.integers(0, 8))):
            done.update(results(engine.step().events))
        if data.draw(st.booleans()):
            victim = data.draw(st.sampled_from(sorted(names)))
            engine.cancel(victim)
            waiting.discard(victim)
    done.update(results(drive(engine)))
    assert waiting <= done.keys()
    for owner, result in done.items():
        assert_same(result, expected[names[owner]])
    statistics = engine.step().statistics
    assert statistics.slots_used == 0
    assert statistics.waiting_sequences == 0
    assert engine._scheduler.left_slots.num_used == 0
    engine.close()
