"""Pictures beside the engine: turns, faults, cancelling."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from model.images import PictureError
from model.rudolph import Rudolph
from tests.workers.driving import small_rudolph
from workers.engine.pictures import Partial, PictureDesk
from workers.engine.work import (
    DecodedPictures,
    DecodePictures,
    EncodedPictures,
    EncodePictures,
    EngineEvent,
    PartialPicture,
    WorkDone,
    WorkFailed,
)


@pytest.fixture(scope="module")
def rudolph(tiny_v2: Path) -> Rudolph:
    return small_rudolph(tiny_v2)


@pytest.fixture(scope="module")
def picture(tiny_v2: Path) -> bytes:
    return (tiny_v2 / "picture1.png").read_bytes()


@pytest.fixture
def desk(rudolph: Rudolph) -> Iterator[PictureDesk]:
    desk = PictureDesk(rudolph, 2)
    yield desk
    desk.close()


def collect(desk: PictureDesk) -> list[EngineEvent]:
    events: list[EngineEvent] = []
    while desk.is_busy:
        desk.wait(10)
        events += desk.poll()[0]
    return events


def test_files_keep_their_order_and_bad_ones_their_place(desk: PictureDesk, picture: bytes) -> None:
    desk.submit("a", EncodePictures((picture, b"bad", picture)))
    (event,) = collect(desk)
    assert isinstance(event, WorkDone)
    assert isinstance(event.result, EncodedPictures)
    first, bad, last = event.result.codes
    assert first == last
    assert isinstance(first, tuple)
    assert isinstance(bad, PictureError)


def test_small_work_does_not_wait_for_all_of_a_large_one(desk: PictureDesk, picture: bytes) -> None:
    desk.submit("large", EncodePictures((picture,) * 60))
    desk.submit("small", DecodePictures(((0,) * 16,), "png"))
    assert [event.owner for event in collect(desk)] == ["small", "large"]


def test_decoded_files_keep_their_order(desk: PictureDesk) -> None:
    codes = tuple((number,) * 16 for number in range(12))
    desk.submit("a", DecodePictures(codes, "png"))
    for code in codes:
        desk.submit(str(code[0]), DecodePictures((code,), "png"))
    files = {}
    for event in collect(desk):
        assert isinstance(event, WorkDone)
        assert isinstance(event.result, DecodedPictures)
        files[event.owner] = event.result.files
    assert list(files["a"]) == [files[str(number)][0] for number in range(12)]


def test_partial_picture_is_grey_below_its_rows(desk: PictureDesk, rudolph: Rudolph) -> None:
    desk.submit("a", Partial(2, 1, tuple(range(16)), 3, "png"))
    (event,) = collect(desk)
    assert isinstance(event, PartialPicture)
    assert (event.candidate, event.partial_index) == (2, 1)
    drawn = Image.open(io.BytesIO(event.data))
    side = rudolph.output_side
    below = drawn.crop((0, 3 * side // 4, side, side)).getcolors()
    assert below == [(side * side // 4, (128, 128, 128))]


def test_partial_picture_that_fails_is_left_out(desk: PictureDesk) -> None:
    desk.submit("a", Partial(0, 0, (10**6,) * 16, 2, "png"))
    assert collect(desk) == []


def test_codes_outside_the_codebook_fail_their_work(desk: PictureDesk) -> None:
    desk.submit("bad", DecodePictures(((10**6,) * 16,), "png"))
    desk.submit("good", DecodePictures(((1,) * 16,), "png"))
    bad, good = collect(desk)
    assert isinstance(bad, WorkFailed)
    assert isinstance(good, WorkDone)


def test_cancelled_work_says_nothing_and_stops_soon(desk: PictureDesk, picture: bytes) -> None:
    desk.submit("gone", EncodePictures((picture,) * 500))
    desk.submit("stays", EncodePictures((picture,)))
    desk.cancel("gone")
    assert [event.owner for event in collect(desk)] == ["stays"]


def test_time_of_pictures_is_counted(desk: PictureDesk, picture: bytes) -> None:
    desk.submit("a", EncodePictures((picture,)))
    while desk.is_busy:
        desk.wait(10)
        _, seconds = desk.poll()
    assert seconds["a"] > 0


def test_closed_desk_leaves_nothing_running(rudolph: Rudolph, picture: bytes) -> None:
    desk = PictureDesk(rudolph, 1)
    desk.submit("a", EncodePictures((picture,) * 500))
    desk.close()
    assert not desk.is_busy
