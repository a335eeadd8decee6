"""Steps of plans: each yields one work item, and returns its result with the right type.

Knows work items and refusals; knows no task.
"""

import math
from collections.abc import Generator, Sequence

from msgspec import structs

from jobs.contract.requests import Sampling as JobSampling
from model.images import ImageError
from model.tasks import Ids
from workers.engine.work import (
    DecodedImages,
    DecodeImages,
    EncodedImages,
    EncodeImages,
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


def decode_images(work: DecodeImages) -> Generator[Work, WorkResult, tuple[bytes, ...]]:
    result = yield work
    assert isinstance(result, DecodedImages)
    return result.files


def encode_images(
    files: Sequence[bytes], params: Sequence[str]
) -> Generator[Work, WorkResult, tuple[Ids, ...]]:
    """Return the codes of each file. A file that cannot be read refuses the job and names its field."""
    if not files:
        return ()
    result = yield EncodeImages(tuple(files))
    assert isinstance(result, EncodedImages)
    return tuple(_readable(codes, param) for codes, param in zip(result.codes, params, strict=True))


def encode_masked(
    file: bytes, mask: bytes, params: tuple[str, str]
) -> Generator[Work, WorkResult, tuple[Ids, tuple[bool, ...]]]:
    """Return the codes of an image, and which of its cells the mask marks to draw again."""
    result = yield EncodeImages((file,), mask)
    assert isinstance(result, EncodedImages)
    codes = _readable(result.codes[0], params[0])
    if isinstance(result.redrawn, ImageError):
        raise Refused("invalid_mask", str(result.redrawn), params[1])
    assert result.redrawn is not None
    return codes, result.redrawn


def encode_own_mask(file: bytes, param: str) -> Generator[Work, WorkResult, tuple[Ids, tuple[bool, ...]]]:
    """Return the codes of an image, and which of its cells are transparent: none if it has no alpha."""
    result = yield EncodeImages((file,), file)
    assert isinstance(result, EncodedImages)
    codes = _readable(result.codes[0], param)
    if isinstance(result.redrawn, ImageError):
        if result.redrawn.reason != "no_alpha":
            raise Refused("invalid_image", str(result.redrawn), param)
        return codes, ()
    return codes, result.redrawn or ()


def _readable(codes: Ids | ImageError, param: str) -> Ids:
    if isinstance(codes, ImageError):
        raise Refused("invalid_image", str(codes), param)
    return codes


def sampling_of(sampling: JobSampling) -> Sampling:
    """Return the sampling settings for the engine. Refuses a temperature that is not above 0."""
    if not (math.isfinite(sampling.temperature) and sampling.temperature > 0):
        raise Refused("invalid_sampling", "The temperature must be above 0.", "temperature")
    return Sampling(**structs.asdict(sampling))


def seeds_of(seed: int, candidates: int) -> tuple[int, ...]:
    """Return the seed of each candidate. A candidate drawn alone with its seed is the same."""
    return tuple((seed + candidate) % NUM_SEEDS for candidate in range(candidates))


def require_some(items: Sequence[object], param: str) -> None:
    """Refuse an empty list."""
    if not items:
        raise Refused(f"invalid_{param}", "The list is empty. Send at least one item.", param)


def num_tokens(ids: Ids) -> int:
    """Return the number of ids without padding."""
    return sum(id_ != 0 for id_ in ids)
