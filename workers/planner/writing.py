"""Plans of written texts: captions, continued texts, answers."""

from collections.abc import Generator

from jobs.job import Task
from jobs.requests import AnswerRequest, Image2TextRequest, Text2TextRequest
from jobs.results import AnswerResult, GeneratedText, TextsResult, Usage
from model.layout import Segment
from model.rudolph import Rudolph
from model.tasks import (
    TEXT_RANKING_TEXT_WEIGHT,
    Ids,
    MergedText,
    Prompts,
    caption_slice,
    combined_scores,
    merge_texts,
    text2text_slice,
)
from workers.engine.work import Generate, Score, ScoredSequence, Work, WorkResult
from workers.planner.refusal import Refused
from workers.planner.steps import (
    check_text,
    encode_pictures,
    generate,
    num_tokens,
    require_text,
    sampling_of,
    score,
    seeds_of,
)


def caption(request: Image2TextRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, TextsResult]:
    """image2text: write the candidates, merge equal ones, order them if asked."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    check_text(prompts, request.template, "template")
    (codes,) = yield from encode_pictures([request.image], ["image"])
    candidates = max(1, request.n, request.candidates)
    work = Generate(
        target=Segment.RIGHT_TEXT,
        left=prompts.image2text_left(),
        image=codes,
        right=prompts.image2text_right(request.template),
        seeds=seeds_of(request.seed, candidates),
        sampling=sampling_of(request.sampling),
        max_tokens=request.max_tokens,
        text_slice=caption_slice(rudolph.config),
        stream_tokens=candidates == 1,
    )
    written = yield from generate(work)
    merged = merge_texts(prompts.text_of(ids) for ids in written.candidates)
    num_read = num_tokens(work.left) + len(codes) + len(work.right)
    usage = Usage(num_read, written.num_drawn, len(codes))

    def text_of(item: MergedText, values: tuple[float, float, float] | None) -> GeneratedText:
        tokens = written.candidates[item.first] if request.return_tokens else None
        if values is None:
            return GeneratedText(item.text, item.count, tokens=tokens)
        combined, ppl_text, ppl_image = values
        return GeneratedText(item.text, item.count, combined, ppl_text, ppl_image, tokens)

    if not request.rerank or not merged[0].text:
        return TextsResult(tuple(text_of(item, None) for item in merged[: request.n]), usage)
    values = yield from _rerank(prompts, merged, codes)
    order = sorted(range(len(merged)), key=lambda index: values[index][0])
    texts = tuple(text_of(merged[index], values[index]) for index in order[: request.n])
    return TextsResult(texts, usage)


def _rerank(
    prompts: Prompts, merged: list[MergedText], codes: Ids
) -> Generator[Work, WorkResult, list[tuple[float, float, float]]]:
    """(score ÷ count, ppl_text, ppl_image) of each caption, by the picture it was written for."""
    scored = yield from score(text_ranking(prompts, [item.text for item in merged], codes))
    assert scored.ppl_left is not None
    assert scored.ppl_image is not None
    combined = combined_scores(scored.ppl_left, scored.ppl_image, TEXT_RANKING_TEXT_WEIGHT).tolist()
    return [
        (value / item.count, ppl_text, ppl_image)
        for value, item, ppl_text, ppl_image in zip(
            combined, merged, scored.ppl_left.tolist(), scored.ppl_image.tolist(), strict=True
        )
    ]


def text_ranking(prompts: Prompts, texts: list[str], codes: Ids) -> Score:
    """Texts ranked by a picture: each stands to the left of it."""
    sequences = tuple(ScoredSequence(prompts.text_ranking_left(text), codes) for text in texts)
    return Score(sequences, left=True, image=True)


def continue_text(request: Text2TextRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, TextsResult]:
    """text2text: write the candidates, merge equal ones, lowest ppl_text of the text read anew first."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    check_text(prompts, request.prompt, "prompt")
    candidates = max(1, request.n, request.candidates)
    work = Generate(
        target=Segment.LEFT_TEXT,
        left=prompts.text2text_left(request.prompt),
        seeds=seeds_of(request.seed, candidates),
        sampling=sampling_of(request.sampling),
        max_tokens=request.max_tokens,
        text_slice=text2text_slice(rudolph.config),
        stream_tokens=candidates == 1,
    )
    written = yield from generate(work)
    usage = Usage(len(work.left), written.num_drawn)
    merged = merge_texts(prompts.text_of(ids) for ids in written.candidates)
    if not merged[0].text:
        return TextsResult((GeneratedText("", merged[0].count),), usage)
    sequences = tuple(ScoredSequence(prompts.scored_text2text(item.text)) for item in merged)
    scored = yield from score(Score(sequences, left=True))
    assert scored.ppl_left is not None
    ppl_text: list[float] = scored.ppl_left.tolist()
    order = sorted(range(len(merged)), key=ppl_text.__getitem__)[: request.n]
    texts = tuple(
        GeneratedText(merged[index].text, merged[index].count, ppl_text=ppl_text[index]) for index in order
    )
    return TextsResult(texts, usage)


def answer(request: AnswerRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, AnswerResult]:
    """answer: of fine-tuned checkpoints only; without a picture W² zeros stand in its place."""
    if Task.ANSWER not in rudolph.tasks:
        raise Refused("unsupported_task", f"the loaded model {rudolph.name} cannot answer questions")
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    require_text(prompts, request.question, "question")
    has_image = request.image is not None
    codes: Ids = (0,) * rudolph.config.image_length
    if request.image is not None:
        (codes,) = yield from encode_pictures([request.image], ["image"])
    work = Generate(
        target=Segment.RIGHT_TEXT,
        left=prompts.answer_left(request.question, with_image=has_image),
        image=codes,
        right=prompts.answer_right(with_image=has_image),
        seeds=seeds_of(request.seed, 1),
        sampling=sampling_of(request.sampling),
        max_tokens=request.max_tokens,
        text_slice=caption_slice(rudolph.config),
        stream_tokens=True,
    )
    written = yield from generate(work)
    num_codes = len(codes) * has_image
    usage = Usage(num_tokens(work.left) + num_codes + len(work.right), written.num_drawn, num_codes)
    return AnswerResult(prompts.text_of(written.candidates[0]), usage)
