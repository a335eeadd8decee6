"""Policy: who runs, who waits, what is computed once. No tensors."""

from model.config import ModelConfig
from model.network.layout import Segment
from model.tasks import TextSlice
from workers.engine.scheduler import Scheduler, StepPlan
from workers.engine.score_group import ScoreGroup
from workers.engine.sequence import GenerateGroup
from workers.engine.work import Generate, Sampling, Score, ScoredSequence

CONFIG = ModelConfig(4, 32, 4, 8, 4, 6, 3, 5, 100, 64, text_special_tokens=8)
SAMPLING = Sampling(1.0, 1, 1.0)
LEFT = (2, 10, 11, 3, 0, 0, 0, 0)
EMPTY = (2, 100, 3, 0, 0, 0, 0, 0)
IMAGE = tuple(range(16))
STEP_TOKENS = 40


def scheduler(num_slots: int = 4) -> Scheduler:
    return Scheduler(CONFIG, num_slots, STEP_TOKENS)


def drawing(
    owner: str = "a", candidates: int = 1, order: tuple[int, int] = (0, 0), **options: object
) -> GenerateGroup:
    work = Generate(Segment.IMAGE, LEFT, tuple(range(candidates)), SAMPLING, **options)  # type: ignore[arg-type]
    return GenerateGroup(owner, order, work, CONFIG)


def captioning(owner: str = "a", candidates: int = 1, order: tuple[int, int] = (0, 0)) -> GenerateGroup:
    work = Generate(
        Segment.RIGHT_TEXT,
        EMPTY,
        tuple(range(candidates)),
        SAMPLING,
        image=IMAGE,
        right=(2, 10),
        text_slice=TextSlice(108, 100),
    )
    return GenerateGroup(owner, order, work, CONFIG)


def classifying(owner: str = "a", classes: int = 3, order: tuple[int, int] = (0, 0)) -> ScoreGroup:
    sequences = tuple(ScoredSequence(EMPTY, IMAGE, (2, 10 + n, 3)) for n in range(classes))
    return ScoreGroup(owner, order, Score(sequences, right=True), CONFIG)


def step(policy: Scheduler) -> StepPlan:
    plan = policy.schedule()
    for row in policy.advance(plan):
        if row.is_complete:
            policy.record_image(row, ())
            if row.group.is_done:
                policy.remove(row.group.owner)
    for chunk in plan.chunks:
        chunk.group.num_done += len(chunk.indices)
        if chunk.group.is_done:
            policy.remove(chunk.group.owner)
    return plan


def all_free(policy: Scheduler) -> bool:
    return not policy.body_slots.num_used and not policy.left_slots.num_used


def test_candidates_of_one_prompt_compute_it_once() -> None:
    policy = scheduler()
    policy.add(drawing(candidates=4))
    plan = step(policy)
    assert len(plan.admitted) == 4
    assert [prompt.ids for prompt in plan.prompts] == [LEFT]
    assert len({row.left_slot for row in plan.admitted}) == 1


def test_captions_of_one_picture_compute_it_once_and_copy_it() -> None:
    policy = scheduler()
    policy.add(captioning(candidates=3))
    plan = step(policy)
    assert [prompt.ids for prompt in plan.prompts] == [EMPTY, (*IMAGE, 2, 10)]
    assert len(plan.body_copies) == 2


def test_copies_are_made_from_what_is_computed_not_from_other_copies() -> None:
    policy = scheduler(num_slots=6)
    policy.add(drawing("first", candidates=2))
    while policy.has_work:
        step(policy)
    policy.add(captioning(candidates=6))
    plan = step(policy)
    (filled,) = [prompt.slot for prompt in plan.prompts if prompt.slot is not None]
    assert {copy.source for copy in plan.body_copies} == {filled}
    assert len(plan.body_copies) == 5


def test_next_wave_finds_the_prompt_of_the_last_one() -> None:
    policy = scheduler(num_slots=2)
    policy.add(captioning(candidates=5))
    plans = [step(policy) for _ in range(12)]
    assert sum(len(plan.admitted) for plan in plans) == 5
    assert sum(len(plan.prompts) for plan in plans) == 2
    assert sum(len(plan.body_copies) for plan in plans) == 1
    assert all_free(policy)


def test_guided_row_takes_two_slots_or_none() -> None:
    policy = scheduler(num_slots=3)
    policy.add(drawing(candidates=2, guidance=0.5, uncond_left=EMPTY))
    plan = step(policy)
    (row,) = plan.admitted
    assert row.uncond is not None
    assert policy.body_slots.num_used == 2
    assert policy.num_waiting == 2


def test_who_has_the_fewest_rows_goes_first() -> None:
    policy = scheduler(num_slots=2)
    policy.add(drawing("many", candidates=6, order=(0, 0)))
    step(policy)
    policy.add(drawing("one", order=(0, 1)))
    while not (plan := step(policy)).admitted:
        pass
    assert {row.group.owner for row in plan.admitted} == {"many", "one"}


def test_lower_priority_number_goes_first() -> None:
    policy = scheduler(num_slots=2)
    policy.add(drawing("late", candidates=2, order=(5, 0)))
    policy.add(drawing("soon", candidates=2, order=(-5, 1)))
    assert {row.group.owner for row in step(policy).admitted} == {"soon"}


def test_prompts_of_a_step_stay_within_its_budget() -> None:
    policy = scheduler(num_slots=8)
    for number in range(6):
        work = Generate(Segment.IMAGE, (2, 20 + number, 3, 0, 0, 0, 0, 0), (0,), SAMPLING)
        policy.add(GenerateGroup(str(number), (0, number), work, CONFIG))
    admitted = [len(step(policy).admitted) for _ in range(2)]
    assert admitted == [STEP_TOKENS // len(LEFT), 6 - STEP_TOKENS // len(LEFT)]


def test_prompt_larger_than_the_budget_still_starts() -> None:
    policy = Scheduler(CONFIG, 4, step_tokens=3)
    policy.add(captioning())
    assert len(step(policy).admitted) == 1


def test_leading_kept_cells_are_part_of_the_prompt() -> None:
    policy = scheduler()
    kept = (*IMAGE[:5], *(None,) * 11)
    policy.add(drawing(known_codes=kept))
    plan = step(policy)
    assert plan.prompts[-1].ids == IMAGE[:5]
    assert plan.admitted[0].position == CONFIG.image_start + 5


def test_trailing_kept_cells_are_not_computed() -> None:
    policy = scheduler()
    policy.add(drawing(known_codes=(None, None, *IMAGE[2:])))
    steps = 0
    while policy.has_work:
        step(policy)
        steps += 1
    assert steps == 2


def test_long_runs_of_kept_cells_are_read_at_once() -> None:
    policy = scheduler()
    policy.add(drawing(known_codes=(None, *IMAGE[1:9], *(None,) * 7)))
    step(policy)
    plan = step(policy)
    assert not plan.decode
    assert [(run.length, len(run.sequences)) for run in plan.forced_runs] == [(9, 1)]
    assert plan.forced_runs[0].sequences[0].position == CONFIG.image_start + 9


def test_short_runs_of_kept_cells_are_decoded() -> None:
    policy = scheduler()
    policy.add(drawing(known_codes=(None, *IMAGE[1:4], *(None,) * 12)))
    step(policy)
    assert len(step(policy).decode) == 1


def test_fully_kept_picture_needs_no_step() -> None:
    group = drawing(known_codes=IMAGE)
    assert group.needs_no_step
    group.finish_without_steps()
    assert group.result().candidates == (IMAGE,)


def test_text_whose_prompt_fills_its_limit_needs_no_step() -> None:
    work = Generate(
        Segment.LEFT_TEXT,
        (2, 10, 11),
        (0, 1),
        SAMPLING,
        max_tokens=3,
        text_slice=TextSlice(116, 101),
    )
    group = GenerateGroup("a", (0, 0), work, CONFIG)
    assert group.needs_no_step
    group.finish_without_steps()
    assert group.result().candidates == ((2, 10, 11), (2, 10, 11))
    assert group.result().num_drawn == 0


def test_classes_are_scored_against_one_prefix_in_bounded_chunks() -> None:
    policy = scheduler()
    policy.add(classifying(classes=50))
    chunks = []
    prompts = 0
    while policy.has_work:
        plan = step(policy)
        prompts += len(plan.prompts)
        chunks += plan.chunks
    assert prompts == 2
    assert all(chunk.tokens <= STEP_TOKENS for chunk in chunks)
    assert sorted(index for chunk in chunks for index in chunk.indices) == list(range(50))
    assert all(chunk.batch.first == CONFIG.right_start for chunk in chunks)
    assert all_free(policy)


def test_scoring_gets_its_slot_while_a_large_group_waits() -> None:
    policy = scheduler(num_slots=2)
    policy.add(captioning("large", candidates=40, order=(0, 0)))
    step(policy)
    policy.add(classifying("small", order=(0, 1)))
    for _ in range(12):
        step(policy)
    assert policy.group_of("small") is None
    assert policy.group_of("large") is not None


def test_scoring_groups_take_turns() -> None:
    policy = scheduler()
    policy.add(classifying("first", classes=60, order=(0, 0)))
    step(policy)
    policy.add(classifying("second", classes=3, order=(0, 1)))
    assert step(policy).chunks[0].group.owner == "second"


def test_decoding_goes_on_beside_scoring() -> None:
    policy = scheduler()
    policy.add(drawing("picture", order=(0, 0)))
    policy.add(classifying("classes", classes=1000, order=(0, 1)))
    step(policy)
    for _ in range(10):
        plan = step(policy)
        assert len(plan.decode) == 1
        assert len(plan.chunks) == 1


def test_removed_groups_give_everything_back() -> None:
    policy = scheduler()
    policy.add(drawing("picture", candidates=6, guidance=0.5, uncond_left=EMPTY))
    policy.add(classifying("classes", classes=100))
    step(policy)
    step(policy)
    policy.remove("picture")
    policy.remove("classes")
    policy.remove("unknown")
    assert all_free(policy)
    assert not policy.has_work
    assert step(policy).is_empty


def test_lost_prompts_are_computed_anew() -> None:
    policy = scheduler()
    policy.add(captioning(candidates=2))
    plan = policy.schedule()
    assert policy.invalidate(plan) == {"a"}
    policy.remove("a")
    assert all_free(policy)
    policy.add(captioning(candidates=2))
    assert len(policy.schedule().prompts) == 2
