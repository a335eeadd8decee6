"""Work of every kind for an engine on a small network, and ways to drive it to the end."""

import torch

from model.network.layout import Segment
from model.rudolph import Rudolph
from model.tasks import Ids, Prompts, caption_slice, text2text_slice
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import (
    DecodeImages,
    EngineEvent,
    Generate,
    Sampling,
    Score,
    Scored,
    ScoredSequence,
    Work,
    WorkDone,
    WorkResult,
)

IMAGES = Sampling(1.0, 32, 0.99)
TEXTS = Sampling(0.9, 16, 0.9)


def engine_of(rudolph: Rudolph, num_slots: int = 6, step_tokens: int = 100) -> Engine:
    return Engine(rudolph, EngineSettings(num_slots, step_tokens, image_threads=1))


def drive(engine: Engine, max_steps: int = 2000) -> list[EngineEvent]:
    events: list[EngineEvent] = []
    for _ in range(max_steps):
        if not engine.has_work:
            return events
        events += engine.step().events
    raise AssertionError("the engine does not come to an end")


def results(events: list[EngineEvent]) -> dict[str, WorkResult]:
    return {event.owner: event.result for event in events if isinstance(event, WorkDone)}


def alone(rudolph: Rudolph, work: Work, **sizes: int) -> WorkResult:
    engine = engine_of(rudolph, **sizes)
    engine.submit("only", work)
    try:
        return results(drive(engine))["only"]
    finally:
        engine.close()


def image_codes(rudolph: Rudolph, seed: int) -> Ids:
    generator = torch.Generator().manual_seed(seed)
    config = rudolph.config
    return tuple(
        torch.randint(config.image_codebook_size, (config.image_length,), generator=generator).tolist()
    )


def drawing(
    rudolph: Rudolph, text: str = "старый кот", seeds: tuple[int, ...] = (1, 2), **more: object
) -> Generate:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    if more.get("guidance"):
        more["uncond_left"] = prompts.uncond_left()
    return Generate(Segment.IMAGE, prompts.text2image_left(text), seeds, IMAGES, **more)  # type: ignore[arg-type]


def captioning(rudolph: Rudolph, seeds: tuple[int, ...] = (1, 2, 3), **more: object) -> Generate:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    return Generate(
        Segment.RIGHT_TEXT,
        prompts.image2text_left(),
        seeds,
        TEXTS,
        image=image_codes(rudolph, 5),
        right=prompts.image2text_right("на картинке"),
        text_slice=caption_slice(rudolph.config),
        **more,  # type: ignore[arg-type]
    )


def continuing(rudolph: Rudolph, seeds: tuple[int, ...] = (1, 2, 3), **more: object) -> Generate:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    return Generate(
        Segment.LEFT_TEXT,
        prompts.text2text_left("большой"),
        seeds,
        TEXTS,
        text_slice=text2text_slice(rudolph.config),
        **more,  # type: ignore[arg-type]
    )


def classifying(rudolph: Rudolph, count: int = 7) -> Score:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    words = ["круг", "старый кот", "большой синий мяч", "домик у моря", "мяч"]
    texts = [" ".join(words[: 1 + number % 5]) for number in range(count)]
    left, image = prompts.image2text_left(), image_codes(rudolph, 6)
    return Score(tuple(ScoredSequence(left, image, prompts.scored_right(t)) for t in texts), right=True)


def ranking_images(rudolph: Rudolph) -> Score:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    left, right = prompts.image2text_left(), prompts.scored_right("кот")
    pictures = [image_codes(rudolph, seed) for seed in range(4)]
    return Score(tuple(ScoredSequence(left, p, right) for p in pictures), image=True, right=True)


def ranking_texts(rudolph: Rudolph) -> Score:
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    image = image_codes(rudolph, 7)
    lefts = [prompts.text_ranking_left(text) for text in ("кот", "мяч у моря", "домик")]
    return Score(tuple(ScoredSequence(left, image) for left in lefts), left=True, image=True)


def all_works(rudolph: Rudolph) -> dict[str, Work]:
    """One of every kind, pictures with kept cells of every pattern among them."""
    codes = image_codes(rudolph, 8)
    width = rudolph.config.image_width
    top = tuple(code if cell < width + 2 else None for cell, code in enumerate(codes))
    middle = tuple(code if 2 <= cell < 9 or cell % 5 == 0 else None for cell, code in enumerate(codes))
    return {
        "plain": drawing(rudolph),
        "guided": drawing(rudolph, "мяч", guidance=0.4),
        "top kept": drawing(rudolph, known_codes=top),
        "middle kept": drawing(rudolph, known_codes=middle, guidance=0.7),
        "captions": captioning(rudolph),
        "short captions": captioning(rudolph, (9, 10), max_tokens=7),
        "texts": continuing(rudolph),
        "classes": classifying(rudolph),
        "images": ranking_images(rudolph),
        "ranked texts": ranking_texts(rudolph),
        "decoded": DecodeImages((codes, codes[::-1]), "png"),
    }


def assert_same(got: WorkResult, expected: WorkResult) -> None:
    if not isinstance(expected, Scored):
        assert got == expected
        return
    assert isinstance(got, Scored)
    for mine, theirs in zip(
        (got.ppl_left, got.ppl_image, got.ppl_right),
        (expected.ppl_left, expected.ppl_image, expected.ppl_right),
        strict=True,
    ):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=0)
