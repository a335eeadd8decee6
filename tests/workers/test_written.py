"""Where a generated text ends: its tokens are counted, its reason is true, and it holds no prompt."""

import pytest

from jobs.contract.events import PartialText
from jobs.contract.requests import AnswerRequest, Image2TextRequest, Sampling, Text2TextRequest
from jobs.contract.results import AnswerResult, JobFailure, TextsResult
from model.rudolph import Rudolph
from model.tasks import MergedText, Prompts
from tests.support.sessions import drive, job, outcome_of, result_of
from workers.planner.written import choices, first_stop, written_text
from workers.session import Session

GREEDY = Sampling(1.0, 1, 1.0)
TEXTS = Sampling(0.9, 16, 0.9)
PROMPTS = ("большой", "Большой!", "кот 🐱", "КОТ (серый)", "Кот Tom", "user:\nкот", "  кот   на  ")


def texts(session: Session, request: Text2TextRequest | Image2TextRequest) -> TextsResult:
    result = result_of(session, request)
    assert isinstance(result, TextsResult)
    return result


@pytest.mark.parametrize("max_tokens", [1, 2, 3])
def test_max_tokens_counts_generated_tokens_alone(session: Session, picture: bytes, max_tokens: int) -> None:
    for request in (
        Text2TextRequest("большой кот", 1, max_tokens=max_tokens, sampling=TEXTS),
        Image2TextRequest(picture, 1, max_tokens=max_tokens, template="на картинке", sampling=TEXTS),
        AnswerRequest("кот", 1, picture, max_tokens=max_tokens),
    ):
        result = result_of(session, request)
        if isinstance(result, AnswerResult):
            counted, reason = result.num_tokens, result.finish_reason
        else:
            assert isinstance(result, TextsResult)
            counted, reason = result.texts[0].num_tokens, result.texts[0].finish_reason
        assert counted == result.usage.output_tokens
        assert counted == max_tokens or (counted < max_tokens and reason == "stop")


def test_the_reason_of_a_cut_text_is_length_and_of_a_whole_one_stop(session: Session, picture: bytes) -> None:
    reasons: set[tuple[str, bool]] = set()
    for seed in range(12):
        request = Image2TextRequest(picture, seed, return_tokens=True, sampling=TEXTS, max_tokens=4)
        text = texts(session, request).texts[0]
        assert text.tokens
        assert (text.finish_reason == "stop") == (text.tokens[-1] == 3)
        reasons.add((text.finish_reason, text.num_tokens == 4))
    assert ("length", True) in reasons


def test_a_full_region_is_a_cut_too(session: Session, rudolph: Rudolph) -> None:
    result = texts(session, Text2TextRequest("большой", 1, 8, 8, sampling=TEXTS, merge=False))
    most = rudolph.config.left_text_length - len(
        Prompts(rudolph.config, rudolph.text_tokenizer).text2text_left("большой")
    )
    for text in result.texts:
        assert (text.finish_reason == "length") <= (text.num_tokens == most)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_continuation_holds_no_prompt(session: Session, rudolph: Rudolph, prompt: str) -> None:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    text = texts(session, Text2TextRequest(prompt, 3, sampling=GREEDY)).texts[0]
    assert text.continuation is not None
    known = prompts.text2text_left(prompt)
    own, _ = prompts.split_text(known, len(known))
    assert text.text == (own + text.continuation).strip()
    assert not text.continuation.startswith(own.strip())


@pytest.mark.parametrize(("words", "param"), [("кот " * 40, "prompt"), ("кот " * 40, "template")])
def test_a_prompt_that_leaves_no_room_is_refused(
    session: Session, picture: bytes, words: str, param: str
) -> None:
    request = (
        Text2TextRequest(words, 1) if param == "prompt" else Image2TextRequest(picture, 1, template=words)
    )
    outcome = outcome_of(session, request)
    assert isinstance(outcome, JobFailure)
    assert (outcome.code, outcome.param) == ("context_length_exceeded", param)


def test_the_longest_prompt_that_fits_is_continued_by_one_token(session: Session, rudolph: Rudolph) -> None:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)

    def surplus(text: str) -> int:
        fit = prompts.left_fit(text, is_open=True)
        return fit.num_tokens - fit.room

    words = next(
        text for count in range(1, 200) if surplus(text := "к" * count) == 0 and surplus(text + "к") > 0
    )
    assert texts(session, Text2TextRequest(words, 1, sampling=TEXTS)).texts[0].num_tokens == 1
    assert isinstance(outcome_of(session, Text2TextRequest(words + "к", 1, sampling=TEXTS)), JobFailure)


def test_a_text_ends_before_a_stop_sequence(session: Session) -> None:
    whole = texts(session, Text2TextRequest("большой", 4, sampling=GREEDY)).texts[0]
    assert whole.continuation
    assert len(whole.continuation) > 5
    word = whole.continuation[3:5]
    cut = texts(session, Text2TextRequest("большой", 4, sampling=GREEDY, stop=("нет такого", word))).texts[0]
    assert cut.continuation == whole.continuation[: whole.continuation.find(word)]
    assert cut.finish_reason == "stop"
    assert cut.num_tokens <= whole.num_tokens
    assert cut.text == ("большой" + cut.continuation).strip()


def test_a_client_that_counts_on_n_texts_gets_n_in_order(session: Session, picture: bytes) -> None:
    request = Text2TextRequest("большой", 4, 4, 4, sampling=GREEDY, merge=False)
    result = texts(session, request)
    assert len(result.texts) == 4
    alone = [
        texts(session, Text2TextRequest("большой", 4 + index, sampling=TEXTS)).texts[0].text
        for index in range(3)
    ]
    together = texts(session, Text2TextRequest("большой", 4, 3, 3, sampling=TEXTS, merge=False))
    assert [text.text for text in together.texts] == alone
    captions = texts(session, Image2TextRequest(picture, 1, 3, 8, sampling=GREEDY, merge=False, rerank=True))
    assert len(captions.texts) == 3


def test_choices_are_distinct_first_and_repeated_after_that() -> None:
    merged = [MergedText("а", 3, 0), MergedText("б", 1, 1), MergedText("в", 2, 2)]
    assert choices([1, 0, 2], merged, 2) == [1, 0]
    assert choices([1, 0, 2], merged, 6) == [1, 0, 2, 0, 2, 0]
    assert choices([1, 0, 2], merged, 8) == [1, 0, 2, 0, 2, 0, 1, 0]


def test_every_choice_of_a_stream_grows(session: Session) -> None:
    session.submit(job(Text2TextRequest("большой", 4, 3, 3, sampling=TEXTS, merge=False)))
    outcomes, notices = drive(session)
    partial = [notice.body for notice in notices if isinstance(notice.body, PartialText)]
    result = outcomes["job"]
    assert isinstance(result, TextsResult)
    assert len({body.index for body in partial}) > 1
    for body in partial:
        assert (result.texts[body.index].continuation or "").startswith(body.continuation)
        assert not body.continuation.startswith("большой")


def test_the_first_of_several_stop_sequences_counts() -> None:
    assert first_stop("кот на окне", ["окн", " на"]) == 3
    assert first_stop("кот", ["пёс"]) is None
    assert first_stop("кот", []) is None


def test_tokens_after_a_stop_sequence_do_not_count(rudolph: Rudolph) -> None:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    prompt = prompts.text2text_left("большой")
    drawn = tuple(rudolph.text_tokenizer.encode("кот у моря"))
    whole = written_text(prompts, (*prompt, *drawn, 3), len(prompt), ())
    assert (whole.num_tokens, whole.finish_reason) == (len(drawn) + 1, "stop")
    cut = written_text(prompts, (*prompt, *drawn), len(prompt), (" у",))
    assert (cut.continuation, cut.finish_reason) == (" кот", "stop")
    assert cut.num_tokens < len(drawn)
    assert written_text(prompts, (*prompt, *drawn), len(prompt), ()).finish_reason == "length"
