"""The generator of images finds both valid and refused files, and no file is read in two ways."""

from random import Random

import pytest

from app.errors import ApiError
from app.uploads import decode_fully
from model.images import ImageError, open_image
from tests.fuzz.random_images import image

NUM_IMAGES = 1500


def is_accepted(data: bytes) -> bool:
    try:
        decode_fully(data, "image")
    except ApiError:
        return False
    return True


def test_random_images_are_accepted_or_refused_by_both_readers() -> None:
    num_accepted = 0
    for number in range(NUM_IMAGES):
        data = image(Random(number))
        assert data == image(Random(number))
        accepted = is_accepted(data)
        if accepted:
            assert open_image(data).mode == "RGB", number
        else:
            with pytest.raises(ImageError):
                open_image(data)
        num_accepted += accepted
    assert NUM_IMAGES / 2 < num_accepted < NUM_IMAGES
