"""Plans that only score what is given: rankings and classification."""

from collections.abc import Generator, Sequence

from torch import Tensor

from jobs.requests import ClassifyRequest, Codes, Picture, RankImagesRequest, RankTextsRequest
from jobs.results import ClassifyResult, ClassScore, RankedItem, RankingResult, Usage
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
from workers.planner.steps import check_text, encode_pictures, num_tokens, require_some, require_text, score
from workers.planner.writing import text_ranking

PLACEHOLDER = "{}"


def rank_images(request: RankImagesRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, RankingResult]:
    """Pictures by how well the text fits each, and each itself."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    require_text(prompts, request.text, "text")
    require_some(request.images, "images")
    pictures = yield from _all_codes(request.images, rudolph)
    work = image_ranking(prompts, request.text, pictures)
    scored = yield from score(work)
    return _ranking(scored.ppl_right, scored.ppl_image, IMAGE_RANKING_TEXT_WEIGHT, work)


def rank_texts(request: RankTextsRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, RankingResult]:
    """Texts by how well the picture follows each, and each itself."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    require_some(request.texts, "texts")
    for index, text in enumerate(request.texts):
        require_text(prompts, text, f"texts[{index}]")
    (codes,) = yield from encode_pictures([request.image], ["image"])
    work = text_ranking(prompts, list(request.texts), codes)
    scored = yield from score(work)
    return _ranking(scored.ppl_left, scored.ppl_image, TEXT_RANKING_TEXT_WEIGHT, work)


def classify(request: ClassifyRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, ClassifyResult]:
    """Zero-shot classification: the class whose text is least surprising beside the picture."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    template = request.template or PLACEHOLDER
    if PLACEHOLDER not in template + request.left_template:
        raise Refused("invalid_template", "the template needs {} where the class stands", "template")
    check_text(prompts, request.left_template, "left_template")
    require_some(request.classes, "classes")
    for index, name in enumerate(request.classes):
        require_text(prompts, name, f"classes[{index}]")
    (codes,) = yield from encode_pictures([request.image], ["image"])
    sequences = tuple(
        ScoredSequence(
            prompts.image2text_left(request.left_template.replace(PLACEHOLDER, name)),
            codes,
            prompts.scored_right(template.replace(PLACEHOLDER, name)),
        )
        for name in request.classes
    )
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
    )


def _ranking(
    ppl_text: Tensor | None, ppl_image: Tensor | None, text_weight: float, work: Score
) -> RankingResult:
    assert ppl_text is not None
    assert ppl_image is not None
    scores: list[float] = combined_scores(ppl_text, ppl_image, text_weight).tolist()
    texts: list[float] = ppl_text.tolist()
    images: list[float] = ppl_image.tolist()
    order = sorted(range(len(scores)), key=scores.__getitem__)
    num_codes = sum(len(sequence.image) for sequence in work.sequences)
    num_read = num_codes + sum(num_tokens(s.left) + len(s.right) for s in work.sequences)
    ranking = tuple(RankedItem(index, scores[index], texts[index], images[index]) for index in order)
    return RankingResult(ranking, Usage(num_read, 0, num_codes))


def _all_codes(pictures: Sequence[Picture], rudolph: Rudolph) -> Generator[Work, WorkResult, tuple[Ids, ...]]:
    """Codes of every picture, in order: given ones are checked, files are encoded."""
    known: dict[int, Ids] = {}
    files: dict[int, bytes] = {}
    for index, picture in enumerate(pictures):
        if isinstance(picture, Codes):
            known[index] = _checked(picture.codes, index, rudolph)
        else:
            files[index] = picture
    encoded = yield from encode_pictures(list(files.values()), [f"images[{index}]" for index in files])
    known.update(zip(files, encoded, strict=True))
    return tuple(known[index] for index in range(len(pictures)))


def _checked(codes: Ids, index: int, rudolph: Rudolph) -> Ids:
    config = rudolph.config
    if len(codes) != config.image_length:
        raise Refused(
            "invalid_codes",
            f"a picture of this model has {config.image_length} codes, not {len(codes)}",
            f"images[{index}].codes",
        )
    if not all(0 <= code < config.image_codebook_size for code in codes):
        raise Refused(
            "invalid_codes",
            f"codes of this model are 0 … {config.image_codebook_size - 1}",
            f"images[{index}].codes",
        )
    return codes
