"""Jacobi decoding draws what single steps draw, in fewer steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.backends import jacobi
from model.network.layout import Segment
from model.rudolph import Rudolph
from model.tasks import Ids, Prompts
from tests.support.sessions import small_rudolph
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import Generate, Generated, Sampling, WorkDone


@pytest.fixture(scope="module", params=[1, 2], ids=["v1", "v2"])
def rudolph(request: pytest.FixtureRequest, tiny_v1: Path, tiny_v2: Path) -> Rudolph:
    return small_rudolph(tiny_v1 if request.param == 1 else tiny_v2)


@contextmanager
def sequences_at_most(number: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jacobi, "MAX_SEQUENCES", number)
        yield


def draw(rudolph: Rudolph, works: list[Generate]) -> tuple[list[tuple[Ids, ...]], int]:
    """Codes of each work's candidates, and how many steps all of them took."""
    engine = Engine(rudolph, EngineSettings(6, 100, image_threads=1))
    for number, work in enumerate(works):
        engine.submit(str(number), work)
    done: dict[str, tuple[Ids, ...]] = {}
    steps = 0
    while engine.has_work:
        for event in engine.step().events:
            if isinstance(event, WorkDone) and isinstance(event.result, Generated):
                done[event.owner] = event.result.candidates
        steps += 1
    engine.close()
    return [done[str(number)] for number in range(len(works))], steps


def drawing(
    rudolph: Rudolph, seeds: tuple[int, ...], sampling: Sampling, kept: Ids | None = None
) -> Generate:
    left = Prompts(rudolph.config, rudolph.text_tokenizer).text2image_left("старый кот у моря")
    return Generate(Segment.IMAGE, left, seeds, sampling, known_codes=kept or ())


@settings(
    derandomize=True,
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=2).map(tuple),
    sampling=st.builds(
        Sampling, st.sampled_from([0.3, 1.0, 1.5]), st.sampled_from([0, 1, 5, 32]), st.floats(0.3, 1.0)
    ),
    kept_share=st.sampled_from([0.0, 0.2, 0.7]),
    kept_seed=st.integers(0, 1000),
)
def test_drafts_change_no_draw(
    rudolph: Rudolph, seeds: tuple[int, ...], sampling: Sampling, kept_share: float, kept_seed: int
):
    generator = torch.Generator().manual_seed(kept_seed)
    length, vocab = rudolph.config.image_length, rudolph.config.image_codebook_size
    codes = torch.randint(vocab, (length,), generator=generator).tolist()
    is_kept = (torch.rand(length, generator=generator) < kept_share).tolist()
    kept = tuple(code if keep else None for code, keep in zip(codes, is_kept, strict=True))
    work = drawing(rudolph, seeds, sampling, kept if any(is_kept) else None)
    drafted, steps = draw(rudolph, [work])
    with sequences_at_most(0):
        single, single_steps = draw(rudolph, [work])
    assert drafted == single
    assert steps <= single_steps


def test_greedy_pictures_take_fewer_steps(rudolph: Rudolph):
    work = drawing(rudolph, (1,), Sampling(0.05, 0, 1.0))
    _, steps = draw(rudolph, [work])
    with sequences_at_most(0):
        _, single_steps = draw(rudolph, [work])
    assert steps < single_steps


def test_sequences_that_come_and_go_between_drafts_draw_the_same(rudolph: Rudolph):
    sampling = Sampling(1.0, 32, 0.99)
    works = [drawing(rudolph, seeds, sampling) for seeds in ((1,), (2, 3, 4), (5,))]
    together, _ = draw(rudolph, works)
    with sequences_at_most(0):
        assert together == [draw(rudolph, [work])[0][0] for work in works]
