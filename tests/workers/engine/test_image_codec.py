"""Pictures beside the engine: turns, faults, cancelling."""

import io
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from model.images import ImageError
from model.rudolph import Rudolph
from tests.support.sessions import small_rudolph
from workers.engine.image_codec import ImageCodecWorker
from workers.engine.image_tasks import DecodePartial
from workers.engine.work import (
    DecodedImages,
    DecodeImages,
    EncodedImages,
    EncodeImages,
    EngineEvent,
    PartialImageFile,
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
def desk(rudolph: Rudolph) -> Iterator[ImageCodecWorker]:
    desk = ImageCodecWorker(rudolph, 2)
    yield desk
    desk.close()


def collect(desk: ImageCodecWorker) -> list[EngineEvent]:
    events: list[EngineEvent] = []
    while desk.is_busy:
        desk.wait(10)
        events += desk.poll()[0]
    return events


def differ(one: bytes, other: bytes) -> int:
    """The largest difference of two files' pixels; a batch of images rounds otherwise than one alone."""
    first, second = (np.asarray(Image.open(io.BytesIO(file)), dtype=np.int64) for file in (one, other))
    return int(np.abs(first - second).max())


def test_files_keep_their_order_and_bad_ones_their_place(desk: ImageCodecWorker, picture: bytes) -> None:
    desk.submit("a", EncodeImages((picture, b"bad", picture)))
    (event,) = collect(desk)
    assert isinstance(event, WorkDone)
    assert isinstance(event.result, EncodedImages)
    first, bad, last = event.result.codes
    assert first == last
    assert isinstance(first, tuple)
    assert isinstance(bad, ImageError)


def test_small_work_does_not_wait_for_all_of_a_large_one(desk: ImageCodecWorker, picture: bytes) -> None:
    desk.submit("large", EncodeImages((picture,) * 60))
    desk.submit("small", DecodeImages(((0,) * 16,), "png"))
    assert [event.owner for event in collect(desk)] == ["small", "large"]


def test_decoded_files_keep_their_order(desk: ImageCodecWorker) -> None:
    codes = tuple((number,) * 16 for number in range(12))
    desk.submit("a", DecodeImages(codes, "png"))
    for code in codes:
        desk.submit(str(code[0]), DecodeImages((code,), "png"))
    files = {}
    for event in collect(desk):
        assert isinstance(event, WorkDone)
        assert isinstance(event.result, DecodedImages)
        files[event.owner] = event.result.files
    assert list(files["a"]) == [files[str(number)][0] for number in range(12)]


def test_partial_picture_is_grey_below_its_rows(desk: ImageCodecWorker, rudolph: Rudolph) -> None:
    desk.submit("a", DecodePartial(2, 1, tuple(range(16)), 3, "png"))
    (event,) = collect(desk)
    assert isinstance(event, PartialImageFile)
    assert (event.candidate, event.partial_index) == (2, 1)
    drawn = Image.open(io.BytesIO(event.data))
    side = rudolph.output_side
    below = drawn.crop((0, 3 * side // 4, side, side)).getcolors()
    assert below == [(side * side // 4, (128, 128, 128))]


def test_partial_picture_that_fails_is_left_out(desk: ImageCodecWorker) -> None:
    desk.submit("a", DecodePartial(0, 0, (10**6,) * 16, 2, "png"))
    assert collect(desk) == []


def test_codes_outside_the_codebook_fail_their_work(desk: ImageCodecWorker) -> None:
    desk.submit("bad", DecodeImages(((10**6,) * 16,), "png"))
    desk.submit("good", DecodeImages(((1,) * 16,), "png"))
    bad, good = collect(desk)
    assert isinstance(bad, WorkFailed)
    assert isinstance(good, WorkDone)


def test_cancelled_work_says_nothing_and_stops_soon(desk: ImageCodecWorker, picture: bytes) -> None:
    desk.submit("gone", EncodeImages((picture,) * 500))
    desk.submit("stays", EncodeImages((picture,)))
    desk.cancel("gone")
    assert [event.owner for event in collect(desk)] == ["stays"]


@pytest.fixture
def counted(rudolph: Rudolph) -> Iterator[tuple[ImageCodecWorker, list[int]]]:
    """A worker with batches of four images in its own thread, and the size of each batch."""
    sizes: list[int] = []

    def decode(codes: Tensor) -> Tensor:
        sizes.append(len(codes))
        return rudolph.image_tokenizer.decode(codes)

    desk = ImageCodecWorker(rudolph, 2, batch=4, in_thread=True, decode=decode)
    yield desk, sizes
    desk.close()


def hold(desk: ImageCodecWorker) -> Event:
    """Keep the thread of the network busy until the event is set."""
    free = Event()
    assert desk._network is not None
    desk._network.submit(free.wait, 30)
    return free


def test_a_batch_is_filled_with_the_images_of_other_requests(
    counted: tuple[ImageCodecWorker, list[int]], desk: ImageCodecWorker
) -> None:
    batched, sizes = counted
    works = {
        "five": DecodeImages(tuple((number,) * 16 for number in range(5)), "png"),
        "one": DecodeImages(((7,) * 16,), "png"),
        "two": DecodeImages(((8,) * 16, (9,) * 16), "png"),
    }
    free = hold(batched)
    for owner, work in works.items():
        batched.submit(owner, work)
        desk.submit(owner, work)
    free.set()
    events = {event.owner: event for event in collect(batched)}
    # Five alone take two batches; its second one has room for the images of the others.
    assert sizes == [4, 4]
    alone = {event.owner: event for event in collect(desk)}
    for owner in works:
        mine, theirs = events[owner], alone[owner]
        assert isinstance(mine, WorkDone)
        assert isinstance(theirs, WorkDone)
        assert isinstance(mine.result, DecodedImages)
        assert isinstance(theirs.result, DecodedImages)
        pairs = zip(mine.result.files, theirs.result.files, strict=True)
        assert max(differ(one, other) for one, other in pairs) <= 2


def test_a_faulty_image_in_a_shared_batch_fails_its_own_request_alone(
    counted: tuple[ImageCodecWorker, list[int]],
) -> None:
    batched, _ = counted
    free = hold(batched)
    batched.submit("good", DecodeImages(((1,) * 16,), "png"))
    batched.submit("bad", DecodeImages(((10**6,) * 16,), "png"))
    batched.submit("late", DecodeImages(((2,) * 16,), "png"))
    free.set()
    events = {event.owner: type(event) for event in collect(batched)}
    assert events == {"good": WorkDone, "bad": WorkFailed, "late": WorkDone}


def test_images_of_cancelled_work_take_no_place_in_a_batch(
    counted: tuple[ImageCodecWorker, list[int]],
) -> None:
    batched, sizes = counted
    free = hold(batched)
    for owner in ("stays", "gone", "too"):
        batched.submit(owner, DecodeImages(((1,) * 16,), "png"))
    batched.cancel("gone")
    free.set()
    assert sorted(event.owner for event in collect(batched)) == ["stays", "too"]
    assert sizes == [2]


def test_time_of_pictures_is_counted(desk: ImageCodecWorker, picture: bytes) -> None:
    desk.submit("a", EncodeImages((picture,)))
    while desk.is_busy:
        desk.wait(10)
        _, seconds = desk.poll()
    assert seconds["a"] > 0


def test_closed_desk_leaves_nothing_running(rudolph: Rudolph, picture: bytes) -> None:
    desk = ImageCodecWorker(rudolph, 1)
    desk.submit("a", EncodeImages((picture,) * 500))
    desk.close()
    assert not desk.is_busy
