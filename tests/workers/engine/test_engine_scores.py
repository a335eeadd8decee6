"""Scores: what they are, and what they cost."""

import itertools

import pytest
import torch

from model.rudolph import Rudolph
from tests.workers.engine.works import alone, classifying, engine_of, ranking_images
from workers.engine.work import Score, Scored


def test_classes_cost_little_more_than_their_own_tokens(rudolph: Rudolph) -> None:
    """Work in positions, not in time: picture and template are read once, each class at its true length."""
    engine = engine_of(rudolph, step_tokens=64)
    work = classifying(rudolph, count=40)
    engine.submit("a", work)
    computed = 0
    while engine.has_work:
        plan = engine._scheduler.schedule()
        computed += plan.prompt_tokens + sum(chunk.tokens for chunk in plan.chunks)
        assert all(chunk.tokens <= 64 for chunk in plan.chunks)
        engine._launch(plan)
        engine._collect(idle=plan.is_empty)
    engine.close()
    columns = zip(*(sequence.right for sequence in work.sequences), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    own = sum(len(sequence.right) - 1 - shared for sequence in work.sequences)
    once = rudolph.config.right_start + shared
    assert shared >= 2
    assert once + own <= computed <= once + 1.3 * own


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
