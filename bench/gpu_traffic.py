"""GPU benchmarks of requests that come one after the other: arrivals, first-seen shapes, and equal images."""

import time

from bench.gpu_engine import Desk
from bench.gpu_tools import Bench, Record
from model.tasks import Ids
from workers.engine.work import DecodeImages, Generate, Generated, Work, WorkDone, WorkFailed

ARRIVAL_S = 0.02
"""Seconds between two requests: fifty images a second."""
ARRIVALS_S = 6.0
BATCHES = (2, 3, 5, 16, 64)
"""Images at once, against the same images alone: each size of a graph, and sizes that are padded."""


def arrivals(bench: Bench, record: Record) -> None:
    """Send one request for one image every 20 ms; measure each from its arrival to its PNG file."""
    desk = Desk(bench, bench.rudolph(), 4 if bench.tiny else 256)
    count = 3 if bench.tiny else int(ARRIVALS_S / ARRIVAL_S)
    desk.run([desk.picture(1, 1)])
    for running, at in ((0, "an idle engine"), (desk.group, f"{desk.group} images that run already")):
        samples, spent_s, steps = _arrive(desk, count, [desk.picture(running, 7)] if running else [])
        name = f"one image every {ARRIVAL_S * 1e3:.0f} ms, at {at}"
        record.seconds("arrivals", name, samples, p90_s=sorted(samples)[int(0.9 * (len(samples) - 1))])
        record.figure("arrivals", f"{name}: images", count / spent_s, "images/s", steps=steps)
    desk.engine.close()


def _arrive(desk: Desk, count: int, running: list[Generate]) -> tuple[list[float], float, int]:
    """Return the seconds of each request, the seconds of all, and the engine's steps."""
    engine = desk.engine
    requests = [desk.picture(1, number) for number in range(count)]
    for work in running:
        engine.submit("running", work)
    began: dict[str, float] = {}
    samples: list[float] = []
    steps, start = 0, time.perf_counter()
    while len(samples) < count or engine.has_work:
        now = time.perf_counter()
        while len(began) < count and now - start >= len(began) * ARRIVAL_S:
            # The time of its arrival, not that of the step that took it.
            began[str(len(began))] = start + len(began) * ARRIVAL_S
            engine.submit(str(len(began) - 1), requests[len(began) - 1])
        if not engine.has_work:
            time.sleep(max(0.0, start + len(began) * ARRIVAL_S - time.perf_counter()))
            continue
        steps += 1
        for event in engine.step().events:
            if isinstance(event, WorkFailed):
                raise event.error
            if isinstance(event, WorkDone) and isinstance(event.result, Generated):
                engine.submit(event.owner, DecodeImages(event.result.candidates, "png"))
            elif isinstance(event, WorkDone) and event.owner in began:
                samples.append(time.perf_counter() - began[event.owner])
    return samples, time.perf_counter() - start, steps


def first_seen_shapes(bench: Bench, record: Record) -> None:
    """Measure each shape of a prompt or a score at its first and at its second sight.

    A library that plans for each new shape makes the first sight slower, and all decoding waits for it.
    """
    desk = Desk(bench, bench.rudolph(), 4 if bench.tiny else 64)
    config = bench.config
    desk.run([desk.picture(1, 1), desk.caption(1), desk.classes(2)])
    lengths = range(1, min(5 if bench.tiny else 17, config.right_text_length))
    counts = (3, 4) if bench.tiny else (3, 7, 20, 61, 100, 333)
    works: dict[str, list[list[Work]]] = {
        "captions with a prefix": [[desk.caption(1, prefix=length)] for length in lengths],
        "scores of classes": [[desk.classes(count)] for count in counts],
        "left texts at once": [desk.pictures(count) for count in (2, 3) if count <= desk.engine.num_slots],
    }
    if not bench.tiny:
        works["left texts at once"] = [desk.pictures(count) for count in (2, 3, 5, 6, 7, 9, 12, 20, 33)]
    for name, all_shapes in works.items():
        sights = [[desk.timed(work), desk.timed(work)] for work in all_shapes]
        first, second = ([sight[index] for sight in sights] for index in (0, 1))
        record.seconds("shapes", f"{name}: first sight", first, max_s=max(first))
        record.seconds("shapes", f"{name}: second sight", second, max_s=max(second))
    desk.engine.close()


def agreement(bench: Bench, record: Record) -> None:
    """Compare images of a seed drawn alone with the same images drawn together."""
    desk = Desk(bench, bench.rudolph(), 4 if bench.tiny else max(BATCHES))
    batches = (2, 3) if bench.tiny else BATCHES
    works = [desk.picture(1, seed) for seed in range(max(batches))]
    alone = [desk.codes([work])[0] for work in works]
    again = [desk.codes([work])[0] for work in works[: min(16, len(works))]]
    _compare(record, "alone a second time", alone, again)
    for size in batches:
        count = max(size, min(16, len(works))) // size * size
        together: list[Ids] = []
        for start in range(0, count, size):
            together += desk.codes(works[start : start + size])
        _compare(record, f"among {size}", alone, together)
    desk.engine.close()


def _compare(record: Record, name: str, alone: list[Ids], other: list[Ids]) -> None:
    pairs = list(zip(alone, other, strict=False))
    images = sum(one == two for one, two in pairs) / len(pairs)
    codes = sum(one == two for pair in pairs for one, two in zip(*pair, strict=True))
    share = codes / sum(len(one) for one, _ in pairs)
    record.figure("agreement", f"images equal alone and {name}", images, "of 1", images=len(pairs))
    record.figure("agreement", f"codes equal alone and {name}", share, "of 1", images=len(pairs))
