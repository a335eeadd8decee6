"""Compares a stored output or image with a new one.

Ids and times differ in every run. Scores may differ in their last digits on another processor.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageStat

TOLERANCE = 0.05
"""Relative difference of numbers."""
MAX_DIFFERENCE = 6.0
"""Mean difference of pixels, 0 to 255."""
OF_EACH_RUN = ("id", "created", "timings", "b64_json")
_NUMBER = re.compile(r"\d+\.\d+")


def same_output(stored: str, new: str) -> bool:
    """True if both outputs say the same: equal texts and order, close numbers."""
    try:
        return _same(json.loads(stored), json.loads(new))
    except ValueError:
        numbers = zip(_NUMBER.findall(stored), _NUMBER.findall(new), strict=False)
        texts_are_equal = _NUMBER.sub("", stored).split() == _NUMBER.sub("", new).split()
        return texts_are_equal and all(_close(float(one), float(other)) for one, other in numbers)


def same_image(stored: Path, new: Image.Image) -> bool:
    """True if the stored file shows the new image."""
    with Image.open(stored) as image:
        shown = image.convert("RGB")
    if shown.size != new.size:
        return False
    return max(ImageStat.Stat(ImageChops.difference(shown, new)).mean) < MAX_DIFFERENCE


def _same(stored: Any, new: Any) -> bool:
    if isinstance(stored, dict) and isinstance(new, dict):
        return stored.keys() == new.keys() and all(
            name in OF_EACH_RUN or _same(stored[name], new[name]) for name in stored
        )
    if isinstance(stored, list) and isinstance(new, list):
        return len(stored) == len(new) and all(map(_same, stored, new))
    if isinstance(stored, float) and isinstance(new, float | int):
        return _close(stored, new)
    return stored == new


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=0.01)
