"""Plan of text2image: prompt, known codes, self-reranking."""

from collections.abc import Generator
from typing import cast

from jobs.contract.requests import Borders, ImagePrompt, Text2ImageRequest
from jobs.contract.results import GeneratedImage, ImagesResult, Usage
from model.images import ImageFormat
from model.network.layout import Segment
from model.rudolph import Rudolph
from model.tasks import (
    IMAGE_RANKING_TEXT_WEIGHT,
    Ids,
    Prompts,
    combined_scores,
    kept_cells,
    spread_cells,
)
from workers.engine.work import (
    DecodeImages,
    Generate,
    Score,
    ScoredSequence,
    Work,
    WorkResult,
)
from workers.planner.refusal import Refused
from workers.planner.steps import (
    decode_images,
    encode_images,
    encode_masked,
    encode_own_mask,
    generate,
    num_tokens,
    sampling_of,
    score,
    seeds_of,
)
from workers.planner.texts import require_text, text_warnings

Kept = tuple[int | None, ...]


def draw(request: Text2ImageRequest, rudolph: Rudolph) -> Generator[Work, WorkResult, ImagesResult]:
    """Draw the candidates, rank them if requested, and return the first n as image files."""
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    require_text(prompts, request.prompt, "prompt")
    kept: Kept = ()
    if request.image_prompt is not None:
        kept = yield from _kept(request.image_prompt, rudolph)
    candidates = max(1, request.n, request.candidates)
    seeds = seeds_of(request.seed, candidates)
    work = _work(request, prompts, seeds, kept)
    drawn = yield from generate(work)
    order = list(range(candidates))
    values: list[tuple[float, float, float]] | None = None
    if request.rerank or candidates > request.n:
        values = yield from _rerank(request.prompt, prompts, drawn.candidates)
        order.sort(key=[value[0] for value in values].__getitem__)
    chosen = order[: request.n]
    codes = tuple(drawn.candidates[index] for index in chosen)
    files = yield from decode_images(DecodeImages(codes, work.partial_format))
    images = tuple(
        _image(
            file, seeds[index], codes_ if request.return_codes else None, values[index] if values else None
        )
        for file, index, codes_ in zip(files, chosen, codes, strict=True)
    )
    num_given = sum(code is not None for code in kept)
    usage = Usage(num_tokens(work.left) + num_given, drawn.num_drawn, num_given)
    return ImagesResult(images, usage, text_warnings(("prompt", prompts.left_fit(request.prompt))))


def _work(request: Text2ImageRequest, prompts: Prompts, seeds: tuple[int, ...], kept: Kept) -> Generate:
    left, unprompted, guidance = prompts.text2image_left(request.prompt), (), request.guidance
    if guidance >= 1:
        # Only the unconditional sequence has weight.
        left, guidance = prompts.uncond_left(), 0.0
    elif guidance > 0:
        unprompted = prompts.uncond_left()
    return Generate(
        target=Segment.IMAGE,
        left=left,
        seeds=seeds,
        sampling=sampling_of(request.sampling),
        known_codes=kept,
        guidance=guidance,
        uncond_left=unprompted,
        partial_images=request.partial_images,
        partial_candidates=request.n,
        partial_format=cast(ImageFormat, request.format),
    )


def _image(
    file: bytes, seed: int, codes: Ids | None, values: tuple[float, float, float] | None
) -> GeneratedImage:
    if values is None:
        return GeneratedImage(file, seed, codes=codes)
    combined, ppl_text, ppl_image = values
    return GeneratedImage(file, seed, combined, ppl_text, ppl_image, codes)


def _rerank(
    text: str, prompts: Prompts, candidates: tuple[Ids, ...]
) -> Generator[Work, WorkResult, list[tuple[float, float, float]]]:
    """Return (score, ppl_text, ppl_image) of each candidate, ranked by the prompt."""
    work = image_ranking(prompts, text, candidates)
    scored = yield from score(work)
    assert scored.ppl_right is not None
    assert scored.ppl_image is not None
    combined = combined_scores(scored.ppl_right, scored.ppl_image, IMAGE_RANKING_TEXT_WEIGHT)
    return list(zip(combined.tolist(), scored.ppl_right.tolist(), scored.ppl_image.tolist(), strict=True))


def image_ranking(prompts: Prompts, text: str, pictures: tuple[Ids, ...]) -> Score:
    """Return the work that ranks images by a text: the text is the right text of each sequence."""
    left, right = prompts.image2text_left(), prompts.scored_right(text)
    sequences = tuple(ScoredSequence(left, codes, right) for codes in pictures)
    return Score(sequences, image=True, right=True)


def _kept(prompt: ImagePrompt, rudolph: Rudolph) -> Generator[Work, WorkResult, Kept]:
    """Return the code of each known cell, and None for each cell that is drawn."""
    if prompt.borders is not None:
        cells = _cells_of(prompt.borders, rudolph)
        (codes,) = yield from encode_images([prompt.image], ["image_prompt.image"])
    elif prompt.mask is not None:
        params = ("image_prompt.image", "image_prompt.mask")
        codes, redrawn = yield from encode_masked(prompt.image, prompt.mask, params)
        if not any(redrawn):
            raise Refused(
                "invalid_mask",
                "The mask has no transparent pixel, so nothing would be drawn.",
                params[1],
            )
        cells = [not flag for flag in redrawn]
    elif prompt.keep_share is not None:
        codes, redrawn = yield from encode_own_mask(prompt.image, "image_prompt.image")
        spread = spread_cells(rudolph.config, prompt.keep_share)
        cells = [not flag for flag in redrawn] if any(redrawn) else spread
    else:
        raise Refused("invalid_borders", "An image prompt needs borders, a mask or a share.", "image_prompt")
    return tuple(code if keep else None for code, keep in zip(codes, cells, strict=True))


def _cells_of(borders: Borders, rudolph: Rudolph) -> list[bool]:
    width = rudolph.config.image_width
    sides = (borders.up, borders.down, borders.left, borders.right)
    if min(sides) < 0 or borders.up + borders.down >= width or borders.left + borders.right >= width:
        raise Refused(
            "invalid_borders",
            f"The borders leave no cells to draw: the image has {width} × {width} cells.",
            "image_prompt.borders",
        )
    return kept_cells(rudolph.config, *sides)
