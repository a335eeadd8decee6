"""The engine on real small networks: batch mates change nothing, and nothing is lost or left behind."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from model.layout import Segment
from model.rudolph import Rudolph
from model.sampler import noise
from model.tasks import Ids, Prompts, caption_slice, text2text_slice
from tests.workers.driving import small_rudolph
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import (
    DecodePictures,
    EncodePictures,
    EngineEvent,
    Generate,
    Generated,
    PartialPicture,
    PartialTokens,
    Sampling,
    Score,
    Scored,
    ScoredSequence,
    Work,
    WorkDone,
    WorkFailed,
    WorkProgress,
    WorkResult,
)

IMAGES = Sampling(1.0, 32, 0.99)
TEXTS = Sampling(0.9, 16, 0.9)
GREEDY = Sampling(1.0, 1, 1.0)


@pytest.fixture(scope="module", params=[1, 2], ids=["v1", "v2"])
def rudolph(request: pytest.FixtureRequest, tiny_v1: Path, tiny_v2: Path) -> Rudolph:
    return small_rudolph(tiny_v1 if request.param == 1 else tiny_v2)


@pytest.fixture(scope="module")
def second(tiny_v2: Path) -> Rudolph:
    return small_rudolph(tiny_v2)


def engine_of(rudolph: Rudolph, num_slots: int = 6, step_tokens: int = 100) -> Engine:
    return Engine(rudolph, EngineSettings(num_slots, step_tokens, picture_threads=1))


@pytest.fixture
def engine(rudolph: Rudolph) -> Iterator[Engine]:
    engine = engine_of(rudolph)
    yield engine
    engine.close()


def drive(engine: Engine, max_steps: int = 2000) -> list[EngineEvent]:
    events: list[EngineEvent] = []
    for _ in range(max_steps):
        if not engine.has_work:
            return events
        events += engine.step().events
    raise AssertionError("the engine does not come to an end")


def results(events: list[EngineEvent]) -> dict[str, WorkResult]:
    return {event.owner: event.result for event in events if isinstance(event, WorkDone)}


def alone(rudolph: Rudolph, work: Work, **sizes: int) -> WorkResult:
    engine = engine_of(rudolph, **sizes)
    engine.submit("only", work)
    try:
        return results(drive(engine))["only"]
    finally:
        engine.close()


def picture_codes(rudolph: Rudolph, seed: int) -> Ids:
    generator = torch.Generator().manual_seed(seed)
    config = rudolph.config
    return tuple(
        torch.randint(config.image_codebook_size, (config.image_length,), generator=generator).tolist()
    )


def drawing(
    rudolph: Rudolph, text: str = "старый кот", seeds: tuple[int, ...] = (1, 2), **more: object
) -> Generate:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    if more.get("guidance"):
        more["unprompted_left"] = prompts.unprompted_left()
    return Generate(Segment.IMAGE, prompts.text2image_left(text), seeds, IMAGES, **more)  # type: ignore[arg-type]


def captioning(rudolph: Rudolph, seeds: tuple[int, ...] = (1, 2, 3), **more: object) -> Generate:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    return Generate(
        Segment.RIGHT_TEXT,
        prompts.image2text_left(),
        seeds,
        TEXTS,
        image=picture_codes(rudolph, 5),
        right=prompts.image2text_right("на картинке"),
        text_slice=caption_slice(rudolph.config),
        **more,  # type: ignore[arg-type]
    )


def continuing(rudolph: Rudolph, seeds: tuple[int, ...] = (1, 2, 3), **more: object) -> Generate:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    return Generate(
        Segment.LEFT_TEXT,
        prompts.text2text_left("большой"),
        seeds,
        TEXTS,
        text_slice=text2text_slice(rudolph.config),
        **more,  # type: ignore[arg-type]
    )


def classifying(rudolph: Rudolph, count: int = 7) -> Score:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    words = ["круг", "старый кот", "большой синий мяч", "домик у моря", "мяч"]
    texts = [" ".join(words[: 1 + number % 5]) for number in range(count)]
    left, image = prompts.image2text_left(), picture_codes(rudolph, 6)
    return Score(tuple(ScoredSequence(left, image, prompts.scored_right(t)) for t in texts), right=True)


def ranking_images(rudolph: Rudolph) -> Score:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    left, right = prompts.image2text_left(), prompts.scored_right("кот")
    pictures = [picture_codes(rudolph, seed) for seed in range(4)]
    return Score(tuple(ScoredSequence(left, p, right) for p in pictures), image=True, right=True)


def ranking_texts(rudolph: Rudolph) -> Score:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    image = picture_codes(rudolph, 7)
    lefts = [prompts.text_ranking_left(text) for text in ("кот", "мяч у моря", "домик")]
    return Score(tuple(ScoredSequence(left, image) for left in lefts), left=True, image=True)


def all_works(rudolph: Rudolph) -> dict[str, Work]:
    """One of every kind, pictures with kept cells of every pattern among them."""
    codes = picture_codes(rudolph, 8)
    width = rudolph.config.image_width
    top = tuple(code if cell < width + 2 else None for cell, code in enumerate(codes))
    middle = tuple(code if 2 <= cell < 9 or cell % 5 == 0 else None for cell, code in enumerate(codes))
    return {
        "plain": drawing(rudolph),
        "guided": drawing(rudolph, "мяч", guidance=0.4),
        "top kept": drawing(rudolph, kept=top),
        "middle kept": drawing(rudolph, kept=middle, guidance=0.7),
        "captions": captioning(rudolph),
        "short captions": captioning(rudolph, (9, 10), max_tokens=7),
        "texts": continuing(rudolph),
        "classes": classifying(rudolph),
        "images": ranking_images(rudolph),
        "ranked texts": ranking_texts(rudolph),
        "decoded": DecodePictures((codes, codes[::-1]), "png"),
    }


def assert_same(got: WorkResult, expected: WorkResult) -> None:
    if not isinstance(expected, Scored):
        assert got == expected
        return
    assert isinstance(got, Scored)
    for mine, theirs in zip(
        (got.ppl_left, got.ppl_image, got.ppl_right),
        (expected.ppl_left, expected.ppl_image, expected.ppl_right),
        strict=True,
    ):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=0)


def test_mixed_batch_gives_everyone_what_they_get_alone(rudolph: Rudolph, engine: Engine) -> None:
    works = all_works(rudolph)
    for owner, work in works.items():
        engine.submit(owner, work)
    mixed = results(drive(engine))
    assert mixed.keys() == works.keys()
    for owner, work in works.items():
        assert_same(mixed[owner], alone(rudolph, work))


def test_number_of_slots_and_budget_change_no_result(rudolph: Rudolph) -> None:
    for work in all_works(rudolph).values():
        expected = alone(rudolph, work, num_slots=16, step_tokens=10_000)
        assert_same(alone(rudolph, work, num_slots=2, step_tokens=1), expected)


def test_joining_between_steps_changes_nothing(rudolph: Rudolph, engine: Engine) -> None:
    works = all_works(rudolph)
    events: list[EngineEvent] = []
    for owner, work in works.items():
        engine.submit(owner, work)
        for _ in range(3):
            events += engine.step().events
    joined = results(events + drive(engine))
    for owner, work in works.items():
        assert_same(joined[owner], alone(rudolph, work))


def test_leaving_between_steps_changes_nothing_for_who_stays(rudolph: Rudolph, engine: Engine) -> None:
    works = all_works(rudolph)
    for owner, work in works.items():
        engine.submit(owner, work)
        engine.submit(f"{owner} that leaves", work)
    events: list[EngineEvent] = []
    for owner in works:
        events += engine.step().events
        engine.cancel(f"{owner} that leaves")
    stayed = results(events + drive(engine))
    for owner, work in works.items():
        assert_same(stayed[owner], alone(rudolph, work))


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
            kept=kept,
            guidance=0.3,
            unprompted_left=prompts.unprompted_left(),
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
    work = drawing(rudolph, seeds=(1, 2, 3), partial_pictures=3, partial_candidates=2)
    engine.submit("a", work)
    partial = [event for event in drive(engine) if isinstance(event, PartialPicture)]
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


def test_classes_cost_little_more_than_their_own_tokens(rudolph: Rudolph) -> None:
    """Work in positions, not in time: the picture is read once, then each class at its true length."""
    engine = engine_of(rudolph, step_tokens=64)
    work = classifying(rudolph, count=40)
    engine.submit("a", work)
    computed = 0
    while engine.has_work:
        plan = engine._scheduler.schedule()
        computed += plan.fill_tokens + sum(chunk.tokens for chunk in plan.chunks)
        assert all(chunk.tokens <= 64 for chunk in plan.chunks)
        engine._launch(plan)
        engine._collect(idle=plan.is_empty)
    engine.close()
    own = sum(len(sequence.right) for sequence in work.sequences)
    once = rudolph.config.right_start
    assert once + own <= computed <= once + 1.2 * own


def test_scores_of_a_chunk_equal_those_of_its_sequences_alone(rudolph: Rudolph) -> None:
    work = classifying(rudolph, count=9)
    together = alone(rudolph, work, step_tokens=10_000)
    assert isinstance(together, Scored)
    assert together.ppl_right is not None
    for index, sequence in enumerate(work.sequences):
        single = alone(rudolph, Score((sequence,), right=True))
        assert isinstance(single, Scored)
        assert single.ppl_right is not None
        torch.testing.assert_close(together.ppl_right[index], single.ppl_right[0], rtol=1e-5, atol=0)


def test_scores_are_what_the_whole_forward_says(rudolph: Rudolph) -> None:
    work = ranking_images(rudolph)
    scored = alone(rudolph, work)
    assert isinstance(scored, Scored)
    assert scored.ppl_image is not None
    config = rudolph.config
    for index, sequence in enumerate(work.sequences):
        ids = torch.tensor([sequence.left + sequence.image + sequence.right])
        logits = rudolph.transformer(ids)[0, config.image_start : config.right_start - 1]
        codes = logits[:, config.text_vocab_size :][:, : config.image_codebook_size]
        losses = torch.nn.functional.cross_entropy(codes, torch.tensor(sequence.image[1:]), reduction="none")
        assert float(scored.ppl_image[index]) == pytest.approx(float(losses.exp().mean()), rel=1e-5)


@pytest.fixture(scope="module")
def expected(rudolph: Rudolph) -> dict[str, WorkResult]:
    """What everyone gets alone."""
    return {owner: alone(rudolph, work) for owner, work in all_works(rudolph).items()}


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
    assert statistics.waiting_rows == 0
    assert engine._scheduler.left_slots.num_used == 0
    engine.close()
