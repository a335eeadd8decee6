"""Plans that generate texts: captions, continued texts, answers."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from jobs.contract.requests import AnswerRequest, Image2TextRequest, Task, Text2TextRequest
from jobs.contract.results import AnswerResult, GeneratedText, TextsResult, Usage
from model.network.layout import Segment
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
    encode_images,
    generate,
    num_tokens,
    sampling_of,
    score,
    seeds_of,
)
from workers.planner.texts import require_room, require_text, text_warnings
from workers.planner.written import WrittenText, choices, written_text


def caption(request: Image2TextRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, TextsResult]:
    """Generate the captions, merge equal ones, and rank them if requested."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    fit = require_room(prompts, request.template, "template", prompts.right_fit)
    (codes,) = yield from encode_images([request.image], ["image"])
    candidates = max(1, request.n, request.candidates)
    right = prompts.image2text_right(request.template)
    work = Generate(
        target=Segment.RIGHT_TEXT,
        left=prompts.image2text_left(),
        image=codes,
        right=right,
        seeds=seeds_of(request.seed, candidates),
        sampling=sampling_of(request.sampling),
        max_tokens=_positions(right, request.max_tokens),
        text_slice=caption_slice(rudolph.config),
        stream_tokens=_streams(request, candidates),
    )
    drawn = yield from generate(work)
    written = [written_text(prompts, ids, len(right), request.stop) for ids in drawn.candidates]
    merged = merge_texts(text.text for text in written)
    values: dict[str, tuple[float, float, float]] = {}
    if request.rerank and merged[0].text:
        values = yield from _rerank(prompts, merged, codes)
    texts: list[GeneratedText] = []
    for candidate, count in _chosen(request, merged, {text: value[0] for text, value in values.items()}):
        text = written[candidate]
        combined, ppl_text, ppl_image = values.get(text.text, (None, None, None))
        tokens = drawn.candidates[candidate] if request.return_tokens else None
        texts.append(
            _text(text, count, score=combined, ppl_text=ppl_text, ppl_image=ppl_image, tokens=tokens)
        )
    usage = Usage(num_tokens(work.left) + len(codes) + len(right), drawn.num_drawn, len(codes))
    return TextsResult(tuple(texts), usage, text_warnings(("template", fit)))


def _rerank(
    prompts: Prompts, merged: list[MergedText], codes: Ids
) -> Generator[Work, WorkResult, dict[str, tuple[float, float, float]]]:
    """Return (score ÷ count, ppl_text, ppl_image) of each caption, ranked by the image."""
    scored = yield from score(text_ranking(prompts, [item.text for item in merged], codes))
    assert scored.ppl_left is not None
    assert scored.ppl_image is not None
    combined = combined_scores(scored.ppl_left, scored.ppl_image, TEXT_RANKING_TEXT_WEIGHT).tolist()
    return {
        item.text: (value / item.count, ppl_text, ppl_image)
        for value, item, ppl_text, ppl_image in zip(
            combined, merged, scored.ppl_left.tolist(), scored.ppl_image.tolist(), strict=True
        )
    }


def text_ranking(prompts: Prompts, texts: list[str], codes: Ids) -> Score:
    """Return the work that ranks texts by an image: each text is the left text of a sequence."""
    sequences = tuple(ScoredSequence(prompts.text_ranking_left(text), codes) for text in texts)
    return Score(sequences, left=True, image=True)


def continue_text(request: Text2TextRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, TextsResult]:
    """Continue the text, merge equal candidates, score each text, and return the lowest ppl_text first."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    fit = require_room(prompts, request.prompt, "prompt", prompts.left_fit)
    candidates = max(1, request.n, request.candidates)
    left = prompts.text2text_left(request.prompt)
    work = Generate(
        target=Segment.LEFT_TEXT,
        left=left,
        seeds=seeds_of(request.seed, candidates),
        sampling=sampling_of(request.sampling),
        max_tokens=_positions(left, request.max_tokens),
        text_slice=text2text_slice(rudolph.config),
        stream_tokens=_streams(request, candidates),
    )
    drawn = yield from generate(work)
    written = [written_text(prompts, ids, len(left), request.stop) for ids in drawn.candidates]
    merged = merge_texts(text.text for text in written)
    values: dict[str, float] = {}
    if merged[0].text:
        sequences = tuple(ScoredSequence(prompts.scored_text2text(item.text)) for item in merged)
        scored = yield from score(Score(sequences, left=True))
        assert scored.ppl_left is not None
        values = dict(zip((item.text for item in merged), scored.ppl_left.tolist(), strict=True))
    texts = [
        _text(
            written[candidate],
            count,
            continuation=written[candidate].continuation,
            ppl_text=values.get(written[candidate].text),
        )
        for candidate, count in _chosen(request, merged, values)
    ]
    usage = Usage(len(left), drawn.num_drawn)
    return TextsResult(tuple(texts), usage, text_warnings(("prompt", fit)))


def answer(request: AnswerRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, AnswerResult]:
    """Answer a question, if the checkpoint was fine-tuned for it. Without an image its W² codes are 0."""
    if Task.ANSWER not in rudolph.tasks:
        raise Refused("unsupported_task", f"The loaded model, {rudolph.name}, cannot answer questions.")
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    require_text(prompts, request.question, "question")
    has_image = request.image is not None
    codes: Ids = (0,) * rudolph.config.image_length
    if request.image is not None:
        (codes,) = yield from encode_images([request.image], ["image"])
    right = prompts.answer_right(with_image=has_image)
    work = Generate(
        target=Segment.RIGHT_TEXT,
        left=prompts.answer_left(request.question, with_image=has_image),
        image=codes,
        right=right,
        seeds=seeds_of(request.seed, 1),
        sampling=sampling_of(request.sampling),
        max_tokens=_positions(right, request.max_tokens),
        text_slice=caption_slice(rudolph.config),
        stream_tokens=True,
    )
    drawn = yield from generate(work)
    num_codes = len(codes) * has_image
    usage = Usage(num_tokens(work.left) + num_codes + len(right), drawn.num_drawn, num_codes)
    text = written_text(prompts, drawn.candidates[0], len(right), request.stop)
    warnings = text_warnings(("question", prompts.left_fit(request.question)))
    return AnswerResult(text.text, usage, warnings, text.num_tokens, text.finish_reason)


def _positions(prompt: Ids, max_tokens: int | None) -> int | None:
    """Return the positions of the target region that the engine may fill, the prompt's included."""
    return None if max_tokens is None else len(prompt) + max_tokens


def _streams(request: Image2TextRequest | Text2TextRequest, candidates: int) -> bool:
    """Whether a candidate's text so far is that of a text of the result."""
    return candidates == 1 or (not request.merge and candidates == request.n)


def _chosen(
    request: Image2TextRequest | Text2TextRequest, merged: Sequence[MergedText], values: Mapping[str, float]
) -> list[tuple[int, int]]:
    """Return the candidate and the count of each text of the result. `values`: lower is better."""
    candidates = max(1, request.n, request.candidates)
    if not request.merge and candidates == request.n:
        return [(candidate, 1) for candidate in range(candidates)]
    order = sorted(range(len(merged)), key=lambda index: values.get(merged[index].text, 0.0))
    chosen = order[: request.n] if request.merge else choices(order, merged, request.n)
    return [(merged[index].first, merged[index].count) for index in chosen]


def _text(written: WrittenText, count: int, **more: Any) -> GeneratedText:
    return GeneratedText(
        written.text, count, num_tokens=written.num_tokens, finish_reason=written.finish_reason, **more
    )
