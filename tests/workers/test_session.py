"""Jobs over one engine: outcomes, notices, faults that stay with their job."""

import io
import itertools

import pytest
from PIL import Image

from jobs.contract.events import PartialImage, PartialText, Progress
from jobs.contract.requests import (
    AnswerRequest,
    Borders,
    ClassifyRequest,
    Codes,
    Image2TextRequest,
    ImagePrompt,
    RankImagesRequest,
    RankTextsRequest,
    Request,
    Sampling,
    Text2ImageRequest,
    Text2TextRequest,
)
from jobs.contract.results import (
    AnswerResult,
    ClassifyResult,
    ImagesResult,
    RankingResult,
    TextsResult,
    Usage,
)
from model.rudolph import Rudolph
from tests.support.sessions import IMAGES, drawing, drive, is_rising, job, outcome_of, outcomes_of, result_of
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session

TEXTS = Sampling(0.9, 16, 0.9)


def all_requests(picture: bytes) -> dict[str, Request]:
    codes = Codes(tuple(range(16)))
    return {
        "draw": drawing(n=2, candidates=2, return_codes=True),
        "best of": drawing(n=1, candidates=5, return_codes=True),
        "guided": drawing(guidance=0.3, return_codes=True),
        "borders": drawing(image_prompt=ImagePrompt(picture, Borders(up=2, left=1)), return_codes=True),
        "caption": Image2TextRequest(picture, 3, 2, 6, "на картинке", sampling=TEXTS, rerank=True),
        "texts": Text2TextRequest("большой", 3, 2, 4, sampling=TEXTS),
        "images": RankImagesRequest("кот", (picture, codes, Codes(codes.codes[::-1]))),
        "rank texts": RankTextsRequest(picture, ("кот", "мяч", "домик у моря")),
        "classes": ClassifyRequest(picture, ("кот", "круг", "мяч"), "на картинке {}"),
        "answer": AnswerRequest("большой кот", 1),
        "seen": AnswerRequest("большой кот", 1, picture),
        "broken": RankTextsRequest(b"nothing", ("кот", "мяч")),
    }


def rounded(outcome: object) -> object:
    """Scores to five digits: sums in batches of other sizes differ in the last ones."""
    if isinstance(outcome, RankingResult):
        return [(item.index, f"{item.ppl_text:.5g}", f"{item.ppl_image:.5g}") for item in outcome.ranking]
    if isinstance(outcome, ClassifyResult):
        return outcome.label, [f"{item.ppl_text:.5g}" for item in outcome.scores]
    if isinstance(outcome, ImagesResult):
        return [(image.data, image.seed, image.codes) for image in outcome.images], outcome.usage
    if isinstance(outcome, TextsResult):
        return [(text.text, text.count) for text in outcome.texts], outcome.usage
    return outcome


def test_jobs_of_all_tasks_together_get_what_they_get_alone(session: Session, picture: bytes) -> None:
    requests = all_requests(picture)
    together = outcomes_of(session, requests)
    for job_id, request in requests.items():
        assert rounded(together[job_id]) == rounded(outcome_of(session, request)), job_id


def test_same_seed_draws_the_same_file_whatever_the_number_of_slots(rudolph: Rudolph) -> None:
    files: set[bytes] = set()
    for num_slots in (2, 3, 16):
        session = Session(rudolph, EngineSettings(num_slots))
        result = result_of(session, drawing(n=3))
        assert isinstance(result, ImagesResult)
        files.add(b"".join(image.data for image in result.images))
        session.close()
    assert len(files) == 1


def test_returned_seed_draws_its_picture_again(session: Session) -> None:
    best = result_of(session, drawing(n=2, candidates=6))
    assert isinstance(best, ImagesResult)
    for image in best.images:
        again = result_of(session, Text2ImageRequest("старый кот", image.seed, sampling=IMAGES))
        assert isinstance(again, ImagesResult)
        assert again.images[0].data == image.data


def test_seeds_wrap_around_at_63_bits(session: Session) -> None:
    result = result_of(session, Text2ImageRequest("кот", 2**63 - 1, n=2, sampling=IMAGES))
    assert isinstance(result, ImagesResult)
    assert [image.seed for image in result.images] == [2**63 - 1, 0]


def test_candidates_are_reranked_best_first(session: Session) -> None:
    best = result_of(session, drawing(n=3, candidates=6))
    every = result_of(session, drawing(n=6, candidates=6, rerank=True))
    assert isinstance(best, ImagesResult)
    assert isinstance(every, ImagesResult)
    scores = [image.score for image in every.images if image.score is not None]
    assert len(scores) == 6
    assert is_rising(scores)
    assert [image.data for image in best.images] == [image.data for image in every.images[:3]]
    assert scores[0] == 0 or scores[0] > 0


def test_pictures_without_reranking_carry_no_scores(session: Session) -> None:
    result = result_of(session, drawing(n=2))
    assert isinstance(result, ImagesResult)
    assert {(image.score, image.ppl_text, image.codes) for image in result.images} == {(None, None, None)}


def test_single_reranked_picture_scores_zero(session: Session) -> None:
    result = result_of(session, drawing(rerank=True))
    assert isinstance(result, ImagesResult)
    assert result.images[0].score == 0
    assert (result.images[0].ppl_text or 0) > 1


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_pictures_come_in_the_format_asked_for(session: Session, rudolph: Rudolph, image_format: str) -> None:
    result = result_of(session, drawing(format=image_format))
    assert isinstance(result, ImagesResult)
    opened = Image.open(io.BytesIO(result.images[0].data))
    assert (opened.format or "").lower() == image_format
    assert opened.size == (rudolph.output_side, rudolph.output_side)


def test_mask_keeps_the_opaque_cells(session: Session, rudolph: Rudolph, picture: bytes) -> None:
    given = Image.open(io.BytesIO(picture))
    mask = Image.new("RGBA", given.size, (0, 0, 0, 255))
    mask.putpixel((given.width - 1, given.height - 1), (0, 0, 0, 0))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    codes = []
    for seed in range(6):
        prompt = ImagePrompt(picture, mask=buffer.getvalue())
        request = Text2ImageRequest("мяч", seed, sampling=IMAGES, image_prompt=prompt, return_codes=True)
        result = result_of(session, request)
        assert isinstance(result, ImagesResult)
        codes.append(result.images[0].codes or ())
        assert result.usage.output_tokens == 1
    assert len({drawn[:-1] for drawn in codes}) == 1
    assert len({drawn[-1] for drawn in codes}) > 1


def test_captions_are_merged_and_ordered_by_score(session: Session, picture: bytes) -> None:
    request = Image2TextRequest(picture, 1, 12, 12, "на картинке", sampling=TEXTS, rerank=True)
    result = result_of(session, request)
    assert isinstance(result, TextsResult)
    assert len({text.text for text in result.texts}) == len(result.texts)
    assert sum(text.count for text in result.texts) == 12
    assert is_rising([text.score for text in result.texts if text.score is not None])
    assert all(text.ppl_text and text.ppl_image for text in result.texts)


def test_caption_may_be_empty(session: Session, picture: bytes) -> None:
    request = Image2TextRequest(picture, 1, stop=tuple("абвгдеёжзийклмнопрстуфхцчшщъыьэюя"), rerank=True)
    result = result_of(session, request)
    assert isinstance(result, TextsResult)
    assert [(text.text, text.count, text.score) for text in result.texts] == [("", 1, None)]


def test_caption_tokens_begin_at_bos_and_stay_within_the_limit(session: Session, picture: bytes) -> None:
    request = Image2TextRequest(picture, 1, template="на", max_tokens=6, return_tokens=True, sampling=TEXTS)
    result = result_of(session, request)
    assert isinstance(result, TextsResult)
    tokens = result.texts[0].tokens or ()
    assert tokens[0] == 2
    assert result.texts[0].num_tokens == result.usage.output_tokens <= 6
    assert len(tokens) > 6


def test_continued_texts_come_with_rising_perplexity(session: Session) -> None:
    result = result_of(session, Text2TextRequest("большой", 1, 5, 12, sampling=TEXTS))
    assert isinstance(result, TextsResult)
    assert 1 < len(result.texts) <= 5
    assert is_rising([text.ppl_text for text in result.texts if text.ppl_text is not None])
    assert all(text.text.startswith("большой") for text in result.texts)


def test_text_may_go_on_from_nothing(session: Session) -> None:
    result = result_of(session, Text2TextRequest("", 1, sampling=TEXTS))
    assert isinstance(result, TextsResult)


def test_thousand_classes_fit_one_request(session: Session, picture: bytes) -> None:
    letters = "абвгдежзиклмнопрстуфхцчшщыэюя"
    pairs = itertools.islice(itertools.product(letters, letters), 500)
    classes = tuple(f"{word} {first}{second}" for first, second in pairs for word in ("кот", "мяч"))
    result = result_of(session, ClassifyRequest(picture, classes))
    assert isinstance(result, ClassifyResult)
    assert len(result.scores) == 1000
    assert sum(item.score for item in result.scores) == pytest.approx(1)
    assert result.scores[result.label].ppl_text == min(item.ppl_text for item in result.scores)


def test_questions_are_answered_with_and_without_a_picture(session: Session, picture: bytes) -> None:
    for image in (None, picture):
        assert isinstance(result_of(session, AnswerRequest("кот", 1, image)), AnswerResult)


def test_drawing_tells_of_rows_and_partial_pictures(session: Session, rudolph: Rudolph) -> None:
    session.submit(job(drawing(n=1, partial_images=2)))
    _, notices = drive(session)
    bodies = [notice.body for notice in notices]
    progress = [body for body in bodies if isinstance(body, Progress)]
    assert [(body.phase, body.done) for body in progress] == [("drawing", row) for row in (1, 2, 3, 4)]
    partial = [body for body in bodies if isinstance(body, PartialImage)]
    assert [(body.index, body.partial_index) for body in partial] == [(0, 0), (0, 1)]
    picture = Image.open(io.BytesIO(partial[0].data)).convert("RGB")
    side = rudolph.output_side
    assert picture.size == (side, side)
    assert picture.crop((0, side // 2, side, side)).getcolors() == [(side * side // 2, (128, 128, 128))]
    assert len(picture.crop((0, 0, side, side // 4)).getcolors(side * side) or []) > 1


def test_single_text_is_told_as_it_grows(session: Session) -> None:
    session.submit(job(Text2TextRequest("большой", 4, sampling=Sampling(1.0, 1, 1.0))))
    outcomes, notices = drive(session)
    texts = [notice.body.text for notice in notices if isinstance(notice.body, PartialText)]
    result = outcomes["job"]
    assert isinstance(result, TextsResult)
    assert texts
    assert all(result.texts[0].text.startswith(text) for text in texts)


def test_cancelled_job_says_nothing_more(session: Session) -> None:
    session.submit(job(drawing(n=4, rerank=True, partial_images=3), "gone"))
    session.submit(job(drawing(), "stays"))
    for _ in range(6):
        session.step()
    assert session.cancel("gone")
    assert not session.cancel("gone")
    outcomes, notices = drive(session)
    assert set(outcomes) == {"stays"}
    assert {notice.job_id for notice in notices} == {"stays"}


def test_cancel_frees_slots_in_every_phase(session: Session, picture: bytes) -> None:
    for job_id, request in all_requests(picture).items():
        for steps in (0, 1, 2, 5, 12):
            session.submit(job(request, job_id))
            for _ in range(steps):
                session.step()
            session.cancel(job_id)
            assert not session.has_work
            assert session.free_slots == 6
            assert session.step().statistics.slots_used == 0


def test_free_slots_count_what_jobs_will_ask_for(session: Session, picture: bytes) -> None:
    assert session.free_slots == 6
    session.submit(job(Image2TextRequest(picture, 1, 4, 4), "caption", num_sequences=4))
    assert session.free_slots == 2
    session.submit(job(drawing(n=1, guidance=0.5), "guided", num_sequences=2))
    assert session.free_slots == 0
    drive(session)
    assert session.free_slots == 6


def test_compute_time_of_a_job_is_its_own(session: Session) -> None:
    session.submit(job(drawing(n=4), "large"))
    session.submit(job(drawing(n=1), "small"))
    spent: dict[str, float] = {}
    while session.has_work:
        for event in session.step().events:
            if isinstance(event, Finished):
                spent[event.job_id] = event.compute_s
    assert spent["large"] > spent["small"] > 0


def test_job_that_runs_cannot_be_submitted_again(session: Session) -> None:
    session.submit(job(drawing()))
    with pytest.raises(ValueError, match="runs already"):
        session.submit(job(drawing()))


def test_usage_counts_what_was_read_and_drawn(session: Session, rudolph: Rudolph, picture: bytes) -> None:
    prompt_tokens = 3 + len(rudolph.text_tokenizer.encode("старый кот"))
    drawn = result_of(session, drawing(n=2))
    assert drawn.usage == Usage(prompt_tokens, 32)
    kept = result_of(session, drawing(image_prompt=ImagePrompt(picture, Borders(up=1))))
    assert kept.usage == Usage(prompt_tokens + 4, 12, input_image_tokens=4)
    ranked = result_of(session, RankTextsRequest(picture, ("кот", "собака")))
    # The picture's 16 codes are read once with each text.
    assert ranked.usage.input_image_tokens == 32
    described = result_of(session, Image2TextRequest(picture, seed=1))
    assert described.usage.input_image_tokens == 16


def test_min_p_of_one_draws_what_greedy_draws(session: Session) -> None:
    greedy, filtered = (
        result_of(session, Text2TextRequest("большой", 4, sampling=sampling))
        for sampling in (Sampling(1.0, 1, 1.0), Sampling(5.0, 0, 1.0, min_p=1.0))
    )
    assert filtered == greedy
