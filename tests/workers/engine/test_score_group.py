"""What is scored is computed once, and no more of it than the scores need."""

from hypothesis import given
from hypothesis import strategies as st

from model.config import ModelConfig
from model.tasks import Ids
from workers.engine.score_group import ScoreGroup
from workers.engine.work import Score, ScoredSequence

CONFIG = ModelConfig(2, 16, 2, 6, 2, 12, 3, 3, bpe_vocab_size=60, image_codebook_size=64)
LEFT: Ids = (2, 5, 3, 0, 0, 0)
IMAGE: Ids = (7, 8, 9, 10)


def classes(*rights: Ids) -> ScoreGroup:
    sequences = tuple(ScoredSequence(LEFT, IMAGE, right) for right in rights)
    return ScoreGroup("owner", (0, 0), Score(sequences, right=True), CONFIG)


def test_beginning_that_all_texts_share_is_computed_once() -> None:
    group = classes((2, 11, 12, 20, 3), (2, 11, 12, 21, 22, 3))
    chunk = group.next_chunk(1000)
    assert chunk.batch.shared_right == (2, 11, 12)
    assert chunk.batch.first == CONFIG.right_start
    assert chunk.batch.start == CONFIG.right_start + 3
    # Of the first text 20 is read, of the second 21 and 22: the last id of a text predicts nothing.
    assert chunk.batch.length == 2
    assert chunk.tokens == 2 * 2 + 3


def test_equal_texts_leave_one_id_to_each() -> None:
    chunk = classes((2, 11, 3), (2, 11, 3)).next_chunk(1000)
    assert chunk.batch.shared_right == (2, 11)
    assert chunk.batch.length == 1


def test_single_text_shares_nothing() -> None:
    chunk = classes((2, 11, 12, 3)).next_chunk(1000)
    assert chunk.batch.shared_right == ()
    assert chunk.batch.start == CONFIG.image_start
    assert chunk.batch.length == len(IMAGE) + 3


def test_padding_behind_a_text_alone_is_not_read() -> None:
    assert ScoredSequence(LEFT).read_ids() == (2, 5)
    assert ScoredSequence((0, 0, 0)).read_ids() == ()
    # With tokens after it the padding is read, and code 0 is a code.
    assert ScoredSequence(LEFT, (0, 0, 0, 0)).read_ids() == (*LEFT, 0, 0, 0)


@given(st.lists(st.lists(st.integers(2, 5), min_size=1, max_size=6).map(tuple), min_size=2, max_size=6))
def test_every_text_is_in_one_chunk_and_starts_as_the_chunk_says(rights: list[Ids]) -> None:
    group = classes(*rights)
    seen: list[int] = []
    while group.sets[0].waiting:
        chunk = group.next_chunk(8)
        seen += chunk.indices
        for index in chunk.indices:
            right = rights[index]
            assert right[: len(chunk.batch.shared_right)] == chunk.batch.shared_right
            assert len(right) > len(chunk.batch.shared_right)
            assert len(right) - 1 - len(chunk.batch.shared_right) <= chunk.batch.length
    assert sorted(seen) == list(range(len(rights)))
