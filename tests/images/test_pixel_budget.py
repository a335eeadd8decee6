"""Pixels in memory at one time, however many threads decode."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from images.decoding import read_image
from images.pixel_budget import PixelBudget

MOMENT_S = 0.3


def webp(side: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (side, side)).save(sink, "WEBP", lossless=True)
    return sink.getvalue()


def test_images_share_the_budget_and_large_ones_go_one_by_one() -> None:
    budget = PixelBudget(1000)
    with ThreadPoolExecutor(3) as pool, budget.hold(600):
        entered = [threading.Event() for _ in range(3)]

        def enter(index: int, num_pixels: int) -> None:
            with budget.hold(num_pixels):
                entered[index].set()

        small = pool.submit(enter, 0, 400)
        assert entered[0].wait(5)
        small.result()
        pool.submit(enter, 1, 2000)
        assert not entered[1].wait(MOMENT_S)
        pool.submit(enter, 2, 1)
        assert not entered[2].wait(MOMENT_S), "a small image passed a large one"
    assert entered[1].is_set()
    assert entered[2].is_set()


def test_a_failure_frees_its_pixels() -> None:
    budget = PixelBudget(10)
    for _ in range(2):
        try:
            with budget.hold(10):
                raise ValueError
        except ValueError:
            pass


def test_no_two_large_files_are_decoded_at_one_time() -> None:
    budget, both = PixelBudget(6000), threading.Barrier(2)

    def meet(image: Image.Image, _: str) -> bool:
        try:
            both.wait(MOMENT_S)
        except threading.BrokenBarrierError:
            return False
        return True

    large, small = webp(64), webp(32)
    with ThreadPoolExecutor(2) as pool:
        apart = list(pool.map(lambda data: read_image(data, meet, budget=budget), [large, large]))
        both.reset()
        together = list(pool.map(lambda data: read_image(data, meet, budget=budget), [small, large]))
    assert apart == [False, False]
    assert together == [True, True]
