"""Single steps of plans: one work item each, its answer checked and typed.

Knows work items and refusals; knows no task.
"""

import math
from collections.abc import Generator, Sequence

from jobs.requests import Sampling as JobSampling
from model.images import PictureError
from model.tasks import Ids, Prompts
from model.text_tokenizer import TextError
from workers.engine.work import (
    DecodedPictures,
    DecodePictures,
    EncodedPictures,
    EncodePictures,
    Generate,
    Generated,
    Sampling,
    Score,
    Scored,
    Work,
    WorkResult,
)
from workers.planner.refusal import Refused

NUM_SEEDS = 1 << 63


def generate(work: Generate) -> Generator[Work, WorkResult, Generated]:
    result = yield work
    assert isinstance(result, Generated)
    return result


def score(work: Score) -> Generator[Work, WorkResult, Scored]:
    result = yield work
    assert isinstance(result, Scored)
    return result


def decode_pictures(work: DecodePictures) -> Generator[Work, WorkResult, tuple[bytes, ...]]:
    result = yield work
    assert isinstance(result, DecodedPictures)
    return result.files


def encode_pictures(
    files: Sequence[bytes], params: Sequence[str]
) -> Generator[Work, WorkResult, tuple[Ids, ...]]:
    """Codes of each file; a file that cannot be read refuses the job, naming its field."""
    if not files:
        return ()
    result = yield EncodePictures(tuple(files))
    assert isinstance(result, EncodedPictures)
    return tuple(_readable(codes, param) for codes, param in zip(result.codes, params, strict=True))


def encode_masked(
    file: bytes, mask: bytes, params: tuple[str, str]
) -> Generator[Work, WorkResult, tuple[Ids, tuple[bool, ...]]]:
    """Codes of a picture, and which of its cells the mask asks to draw anew."""
    result = yield EncodePictures((file,), mask)
    assert isinstance(result, EncodedPictures)
    codes = _readable(result.codes[0], params[0])
    if isinstance(result.redrawn, PictureError):
        raise Refused("invalid_mask", str(result.redrawn), params[1])
    assert result.redrawn is not None
    return codes, result.redrawn


def _readable(codes: Ids | PictureError, param: str) -> Ids:
    if isinstance(codes, PictureError):
        raise Refused("invalid_image", str(codes), param)
    return codes


def require_text(prompts: Prompts, text: str, param: str) -> None:
    """Refuse a text of which no token is left, or that cannot be encoded."""
    try:
        if not prompts.encodes_to_nothing(text):
            return
    except TextError as error:
        raise Refused("invalid_text", str(error), param) from error
    raise Refused("invalid_text", "the text is empty", param)


def check_text(prompts: Prompts, text: str, param: str) -> None:
    """Refuse a text that cannot be encoded; it may be empty."""
    try:
        prompts.encodes_to_nothing(text)
    except TextError as error:
        raise Refused("invalid_text", str(error), param) from error


def sampling_of(sampling: JobSampling) -> Sampling:
    """Refuses what would leave no probabilities to draw from."""
    if not (math.isfinite(sampling.temperature) and sampling.temperature > 0):
        raise Refused("invalid_sampling", "the temperature must be above 0", "temperature")
    return Sampling(sampling.temperature, sampling.top_k, sampling.top_p)


def seeds_of(seed: int, candidates: int) -> tuple[int, ...]:
    """Row seed of each candidate; each can be drawn again alone with its own."""
    return tuple((seed + candidate) % NUM_SEEDS for candidate in range(candidates))


def require_some(items: Sequence[object], param: str) -> None:
    """Refuse an empty list."""
    if not items:
        raise Refused(f"invalid_{param}", "the list is empty", param)


def num_tokens(ids: Ids) -> int:
    """Ids that are no padding."""
    return sum(id_ != 0 for id_ in ids)
