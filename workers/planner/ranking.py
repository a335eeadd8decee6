"""Plans that score given sequences: rankings and classification."""

from collections.abc import Generator, Sequence
from dataclasses import replace

from torch import Tensor

from jobs.contract.requests import (
    ClassifyRequest,
    Codes,
    RankedImage,
    RankImagesRequest,
    RankTextsRequest,
    Request,
    task_of,
)
from jobs.contract.results import ClassifyResult, ClassScore, RankedItem, RankingResult, Usage, Warnings
from model.rudolph import Rudolph
from model.tasks import (
    IMAGE_RANKING_TEXT_WEIGHT,
    TEXT_RANKING_TEXT_WEIGHT,
    Ids,
    Prompts,
    classification_scores,
    combined_scores,
)
from workers.engine.work import Score, ScoredSequence, Work, WorkResult
from workers.planner.drawing import image_ranking
from workers.planner.refusal import Refused
from workers.planner.steps import encode_images, num_tokens, require_some, score
from workers.planner.texts import check_text, reading, require_different, require_text, text_warnings
from workers.planner.writing import text_ranking

PLACEHOLDER = "{}"


def rank_images(request: RankImagesRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, RankingResult]:
    """Rank images by the perplexity of the text after each, and by their own perplexity."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    require_text(prompts, request.text, "text")
    require_some(request.images, "images")
    pictures = yield from _all_codes(request.images, rudolph)
    work = image_ranking(prompts, request.text, pictures)
    scored = yield from score(work)
    warnings = text_warnings(("text", prompts.right_fit(request.text)))
    ranking = _ranking(scored.ppl_right, scored.ppl_image, IMAGE_RANKING_TEXT_WEIGHT)
    return RankingResult(ranking, _usage(work), warnings, _temperature(rudolph, request))


def rank_texts(request: RankTextsRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, RankingResult]:
    """Rank texts by the perplexity of the image after each, and by their own perplexity."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    require_some(request.texts, "texts")
    for index, text in enumerate(request.texts):
        require_text(prompts, text, f"texts[{index}]")
    readings = [reading(prompts.text_ranking_left(text), prompts.left_fit(text)) for text in request.texts]
    require_different(readings, request.texts, "texts")
    (codes,) = yield from encode_images([request.image], ["image"])
    work = text_ranking(prompts, list(request.texts), codes)
    scored = yield from score(work)
    fits = [(f"texts[{index}]", prompts.left_fit(text)) for index, text in enumerate(request.texts)]
    ranking = _ranking(scored.ppl_left, scored.ppl_image, TEXT_RANKING_TEXT_WEIGHT)
    return RankingResult(ranking, _usage(work), text_warnings(*fits), _temperature(rudolph, request))


def classify(request: ClassifyRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, ClassifyResult]:
    """Zero-shot classification: return the class whose text has the lowest perplexity after the image."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    texts = _class_texts(request, prompts)
    (codes,) = yield from encode_images([request.image], ["image"])
    sequences = tuple(ScoredSequence(left, codes, right) for left, right in texts)
    scored = yield from score(Score(sequences, right=True))
    ppl_text = scored.ppl_right
    assert ppl_text is not None
    scores = classification_scores(ppl_text)
    num_texts = sum(len(sequence.right) for sequence in sequences)
    return ClassifyResult(
        label=int(ppl_text.argmin()),
        scores=tuple(
            ClassScore(name, value, ppl)
            for name, value, ppl in zip(request.classes, scores.tolist(), ppl_text.tolist(), strict=True)
        ),
        usage=Usage(len(codes) + num_texts, 0, len(codes)),
        warnings=_class_warnings(request, prompts),
        temperature=_temperature(rudolph, request),
    )


def _class_texts(request: ClassifyRequest, prompts: Prompts) -> list[tuple[Ids, Ids]]:
    """Return left and right text of each class. Refuses classes that the model reads as the same."""
    template = request.template or PLACEHOLDER
    if PLACEHOLDER not in template + request.left_template:
        raise Refused("invalid_template", "The template needs {} in place of the class name.", "template")
    check_text(prompts, request.left_template, "left_template")
    require_some(request.classes, "classes")
    for index, name in enumerate(request.classes):
        require_text(prompts, name, f"classes[{index}]")
    texts = [
        (
            prompts.image2text_left(request.left_template.replace(PLACEHOLDER, name)),
            prompts.scored_right(template.replace(PLACEHOLDER, name)),
        )
        for name in request.classes
    ]
    readings = [
        (left, reading(right, prompts.right_fit(template.replace(PLACEHOLDER, name))))
        for name, (left, right) in zip(request.classes, texts, strict=True)
    ]
    alone = {reading(prompts.scored_right(name), prompts.right_fit(name)) for name in request.classes}
    differ_alone = len(alone) == len(set(request.classes))
    require_different(readings, request.classes, "classes", of_template=differ_alone)
    return texts


def _class_warnings(request: ClassifyRequest, prompts: Prompts) -> Warnings:
    template, left = request.template or PLACEHOLDER, request.left_template
    fits = [("template", prompts.right_fit(template.replace(PLACEHOLDER, "")))]
    for index, name in enumerate(request.classes):
        letters = prompts.right_fit(name).unknown_letters
        whole = prompts.right_fit(template.replace(PLACEHOLDER, name))
        fits.append((f"classes[{index}]", replace(whole, unknown_letters=letters)))
        if left:
            fits.append(("left_template", prompts.left_fit(left.replace(PLACEHOLDER, name))))
    return text_warnings(*fits)


def _ranking(ppl_text: Tensor | None, ppl_image: Tensor | None, text_weight: float) -> tuple[RankedItem, ...]:
    assert ppl_text is not None
    assert ppl_image is not None
    scores: list[float] = combined_scores(ppl_text, ppl_image, text_weight).tolist()
    texts: list[float] = ppl_text.tolist()
    images: list[float] = ppl_image.tolist()
    order = sorted(range(len(scores)), key=scores.__getitem__)
    return tuple(RankedItem(index, scores[index], texts[index], images[index]) for index in order)


def _usage(work: Score) -> Usage:
    num_codes = sum(len(sequence.image) for sequence in work.sequences)
    num_read = num_codes + sum(num_tokens(s.left) + len(s.right) for s in work.sequences)
    return Usage(num_read, 0, num_codes)


def _temperature(rudolph: Rudolph, request: Request) -> float:
    return rudolph.generation.probability_temperature.get(task_of(request), 1.0)


def _all_codes(
    images: Sequence[RankedImage], rudolph: Rudolph
) -> Generator[Work, WorkResult, tuple[Ids, ...]]:
    """Return the codes of every image, in order. Given codes are checked, files are encoded."""
    known: dict[int, Ids] = {}
    files: dict[int, bytes] = {}
    for index, image in enumerate(images):
        if isinstance(image, Codes):
            known[index] = _checked(image.codes, index, rudolph)
        else:
            files[index] = image
    encoded = yield from encode_images(list(files.values()), [f"images[{index}]" for index in files])
    known.update(zip(files, encoded, strict=True))
    return tuple(known[index] for index in range(len(images)))


def _checked(codes: Ids, index: int, rudolph: Rudolph) -> Ids:
    config = rudolph.config
    if len(codes) != config.image_length:
        raise Refused(
            "invalid_codes",
            f"An image of this model has {config.image_length} codes, not {len(codes)}.",
            f"images[{index}].codes",
        )
    if not all(0 <= code < config.image_codebook_size for code in codes):
        raise Refused(
            "invalid_codes",
            f"The codes of this model are 0 to {config.image_codebook_size - 1}.",
            f"images[{index}].codes",
        )
    return codes
