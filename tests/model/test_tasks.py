"""Prompts and formulas of the tasks."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import tasks
from model.config import BOS_ID, EOS_ID, ModelConfig, TaskToken
from model.tasks import Prompts

BPE = 100


def config(generation: int, special: int = 8) -> ModelConfig:
    extra = special if generation == 2 else 0
    return ModelConfig(
        4, 32, 4, 8, 4, 6, 3, 5, BPE, 64, text_special_tokens=extra, image_special_tokens=extra
    )


class Letters:
    """One id a letter, a = 10."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - ord("a") + 10 for letter in text.lower().strip()]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(id_ - 10 + ord("a")) for id_ in ids if id_ >= 10)

    def unknown_letters(self, text: str) -> str:
        return "".join(letter for letter in text if not "a" <= letter <= "z")


FIRST = Prompts(config(1), Letters())
SECOND = Prompts(config(2), Letters())
TOKEN = {token: BPE + token for token in TaskToken}


def test_a_region_has_room_for_a_text_beside_its_special_tokens() -> None:
    for prompts, left, right in ((FIRST, 7, 5), (SECOND, 6, 4)):
        for length in range(12):
            text = "abcdefghijklm"[:length]
            for fit, room, ids in (
                (prompts.left_fit(text), left, prompts.text2image_left(text)),
                (prompts.left_fit(text, is_open=True), left - 1, prompts.text2text_left(text)),
                (prompts.right_fit(text), right, prompts.scored_right(text)),
                (prompts.right_fit(text, is_open=True), right - 1, prompts.image2text_right(text)),
            ):
                read = sum(10 <= index < BPE for index in ids)
                assert (fit.num_tokens, fit.room, fit.is_cut) == (length, room, read < length)
                assert read == min(length, room)


def test_first_generation_prompts_hold_no_task_token() -> None:
    assert FIRST.text2image_left("ab") == (BOS_ID, 10, 11, EOS_ID, 0, 0, 0, 0)
    assert FIRST.image2text_right("ab") == (BOS_ID, 10, 11)
    assert FIRST.text2text_left("ab") == (BOS_ID, 10, 11)
    assert FIRST.text_ranking_left("ab") == FIRST.text2image_left("ab")


def test_first_generation_empty_left_text_is_all_pads() -> None:
    assert FIRST.uncond_left() == (0,) * 8
    assert FIRST.image2text_left() == (0,) * 8


@pytest.mark.parametrize(
    ("ids", "token"),
    [
        (SECOND.text2image_left("ab"), TaskToken.LT_T2I),
        (SECOND.text_ranking_left("ab"), TaskToken.LT_T2I),
        (SECOND.image2text_left("ab"), TaskToken.LT_I2T),
        (SECOND.answer_left("ab", with_image=False), TaskToken.LT_TQA),
    ],
)
def test_second_generation_left_text_names_its_task(ids: tasks.Ids, token: TaskToken) -> None:
    assert ids == (BOS_ID, TOKEN[token], 10, 11, EOS_ID, 0, 0, 0)


def test_second_generation_empty_left_text_is_bos_token_eos() -> None:
    assert SECOND.uncond_left() == (BOS_ID, TOKEN[TaskToken.LT_UNK], EOS_ID, 0, 0, 0, 0, 0)
    assert SECOND.image2text_left() == (BOS_ID, TOKEN[TaskToken.LT_I2T], EOS_ID, 0, 0, 0, 0, 0)


def test_texts_are_cut_at_the_region_with_their_eos() -> None:
    assert SECOND.text2image_left("abcdefghij") == (BOS_ID, TOKEN[TaskToken.LT_T2I], *range(10, 16))
    assert SECOND.scored_right("abcdefghij") == (BOS_ID, TOKEN[TaskToken.RT_I2T], 10, 11, 12, 13)


def test_open_prompt_that_fills_its_region_loses_its_last_id_as_in_the_reference() -> None:
    assert SECOND.image2text_right("abcdefghij") == (BOS_ID, TOKEN[TaskToken.RT_I2T], 10, 11, 12)


def test_questions_about_pictures_have_their_own_tokens_where_the_checkpoint_has_them() -> None:
    large = Prompts(config(2, special=32), Letters())
    assert large.answer_left("a", with_image=True)[1] == TOKEN[TaskToken.LT_VQA]
    assert large.answer_right(with_image=True) == (BOS_ID, TOKEN[TaskToken.RT_VQA])
    assert large.answer_right(with_image=False) == (BOS_ID, TOKEN[TaskToken.RT_TQA])
    assert SECOND.answer_right(with_image=True) == (BOS_ID, TOKEN[TaskToken.RT_TQA])


def test_text_of_ids_ends_at_the_first_eos_and_leaves_task_tokens_out() -> None:
    assert SECOND.text_of([BOS_ID, TOKEN[TaskToken.RT_I2T], 10, 11, EOS_ID, 12, EOS_ID]) == "ab"
    assert SECOND.text_of([BOS_ID, 10, 11]) == "ab"


def test_blank_text_encodes_to_nothing() -> None:
    assert SECOND.encodes_to_nothing("  ")
    assert not SECOND.encodes_to_nothing(" a")


def test_captions_may_draw_pads_in_the_first_generation_only() -> None:
    assert tasks.caption_slice(config(1)) == tasks.TextSlice(BPE + 8, BPE)
    assert tasks.caption_slice(config(2)) == tasks.TextSlice(BPE + 8, BPE)
    assert tasks.scored_text_width(config(1)) == config(1).text_vocab_size
    assert tasks.scored_text_width(config(2)) == config(2).text_vocab_size - 8


def test_continued_texts_let_one_id_above_the_vocabulary_through() -> None:
    assert tasks.text2text_slice(config(2)) == tasks.TextSlice(config(2).text_vocab_size, BPE + 1)


def test_perplexity_is_the_mean_of_exponentials_over_nonzero_positions() -> None:
    losses = torch.tensor([[1.0, 0.0, 3.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    expected = [(math.e + math.e**3) / 2, math.e**2, 1.0]
    assert tasks.perplexity(losses).tolist() == pytest.approx(expected)


def test_perplexity_stays_finite_where_a_text_is_impossible() -> None:
    assert torch.isfinite(tasks.perplexity(torch.tensor([[1e6, 1.0]]))).all()


ppl_lists = st.lists(st.floats(1, 1e6), min_size=1, max_size=20)


@given(ppl_lists, st.floats(0, 1))
def test_combined_scores_are_finite_and_the_best_on_both_counts_is_zero(
    ppl: list[float], weight: float
) -> None:
    values = torch.tensor(ppl, dtype=torch.float64)
    scores = tasks.combined_scores(values, values, weight)
    assert torch.isfinite(scores).all()
    assert scores.min() == 0
    assert scores[values.argmin()] == 0


def test_combined_scores_measure_in_units_of_median_minus_minimum() -> None:
    text = torch.tensor([1.0, 3.0, 9.0])
    image = torch.tensor([10.0, 10.0, 10.0])
    assert tasks.combined_scores(text, image, 0.95).tolist() == pytest.approx([0.0, 0.95, 3.8])


def test_single_candidate_scores_zero() -> None:
    assert tasks.combined_scores(torch.tensor([7.0]), torch.tensor([9.0]), 0.95).tolist() == [0.0]


def test_candidate_worse_than_equal_others_scores_worse() -> None:
    text = torch.tensor([1.0, 1.0, 5.0])
    assert tasks.combined_scores(text, text, 0.5).tolist() == [0.0, 0.0, 1.0]


def test_classification_scores_are_the_softmax_of_normed_perplexities() -> None:
    scores = tasks.classification_scores(torch.tensor([3.0, 4.0]))
    assert scores.tolist() == pytest.approx(torch.tensor([0.6, 0.8]).softmax(0).tolist())


def test_equal_texts_merge_with_a_count_in_the_order_of_first_appearance() -> None:
    merged = tasks.merge_texts(["б", "", "а", "б"])
    assert [(m.text, m.count, m.first) for m in merged] == [("б", 2, 0), ("а", 1, 2)]


def test_candidates_that_are_all_empty_become_one_empty_text() -> None:
    assert tasks.merge_texts(["", ""]) == [tasks.MergedText("", 2, 0)]


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_kept_cells_are_those_within_the_borders(up: int, down: int, left: int, right: int) -> None:
    kept = torch.zeros(4, 4, dtype=torch.bool)
    kept[:up] = True
    kept[4 - down :] = True
    kept[:, :left] = True
    kept[:, 4 - right :] = True
    assert tasks.kept_cells(config(2), up, down, left, right) == kept.flatten().tolist()
