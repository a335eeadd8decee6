"""What a step of the engine gives a device, and where the host waits, on a device that computes nothing."""

from collections.abc import Iterator

import pytest

pytest.importorskip("triton", reason="triton is not installed: the CUDA path is NOT dry-run")

from tests.cuda_dry_run.engines import CONFIG, captioning, classifying, continuing, drawing, engine_of
from tests.cuda_dry_run.fake_cuda import dry_run
from tests.cuda_dry_run.machine import Log, Machine
from workers.engine.engine import Engine
from workers.engine.work import Work

MAX_ATTENTION_SHAPES = 20


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Machine, Engine]]:
    with dry_run() as machine:
        engine = engine_of()
        yield machine, engine
        engine.close()


@pytest.fixture
def idle(running: tuple[Machine, Engine]) -> tuple[Machine, Engine]:
    """The engine without work."""
    machine, engine = running
    for owner in [*engine._scheduler._groups]:
        engine.cancel(owner)
    engine.step()
    engine._in_flight.clear()
    machine.take()
    return machine, engine


def logs(machine: Machine, engine: Engine, steps: int) -> list[Log]:
    """Run steps; return what each gave the device."""
    machine.take()
    found: list[Log] = []
    for _ in range(steps):
        engine.step()
        found.append(machine.take())
    return found


STEADY: dict[str, tuple[list[Work], int]] = {
    "images": ([drawing(CONFIG, seeds=5), drawing(CONFIG, number=1)], 1),
    "guided images": ([drawing(CONFIG, seeds=2, guidance=0.4)], 1),
    "captions": ([captioning(CONFIG, seeds=3)], 1),
    "images and captions": ([drawing(CONFIG), captioning(CONFIG), continuing(CONFIG)], 2),
}


@pytest.mark.parametrize("kind", STEADY)
def test_a_steady_step_is_a_replay_and_one_wait_for_the_step_before(idle: tuple[Machine, Engine], kind: str):
    """Of images nothing is read, and still the host is never more than a step in front of the device."""
    works, replays = STEADY[kind]
    machine, engine = idle
    for number, work in enumerate(works):
        engine.submit(str(number), work)
    logs(machine, engine, 3)
    for log in logs(machine, engine, 8):
        assert not log.launches
        assert not log.uploads
        assert log.replays == replays
        assert [wait.replays_behind for wait in log.waits] == [replays]


ADMISSIONS: dict[str, Work] = {
    "image": drawing(CONFIG, number=3),
    "sixteen images": drawing(CONFIG, seeds=14, number=4),
    "guided image": drawing(CONFIG, number=5, guidance=0.3),
    "caption": captioning(CONFIG, number=6, prompt=9),
    "text": continuing(CONFIG, prompt=17),
}


@pytest.mark.parametrize("kind", ADMISSIONS)
def test_an_admission_is_made_of_replays_and_waits_once_at_most(idle: tuple[Machine, Engine], kind: str):
    machine, engine = idle
    engine.submit("running", drawing(CONFIG))
    logs(machine, engine, 3)
    engine.submit("new", ADMISSIONS[kind])
    (admission,) = logs(machine, engine, 1)
    assert not admission.launches
    # The running step, the prompts of each kind, and the first draw.
    assert 3 <= admission.replays <= 4
    # Each from page-locked memory: the left text, the body, and what is drawn from them.
    assert len(admission.uploads) <= 3
    assert len(admission.waits) <= 1


def test_a_stream_of_single_requests_never_launches_a_kernel_alone(idle: tuple[Machine, Engine]):
    machine, engine = idle
    for number in range(40):
        if number % 3 == 0:
            # No more than fit: each leaves before the slots are full.
            engine.submit(f"image {number}", drawing(CONFIG, number=number))
            engine.cancel(f"image {number - 21}")
        if number % 10 == 0:
            engine.submit(f"text {number}", continuing(CONFIG, prompt=3 + number))
            engine.cancel(f"text {number - 20}")
        (log,) = logs(machine, engine, 1)
        assert not log.launches
        assert len(log.waits) <= 1


def test_candidates_of_a_caption_are_copied_in_few_launches(idle: tuple[Machine, Engine]):
    machine, engine = idle
    engine.submit("captions", captioning(CONFIG, seeds=6, number=40))
    (log,) = logs(machine, engine, 1)
    assert log.launches.total() <= 8
    assert not log.waits


def test_scoring_waits_for_nothing_that_it_launches(idle: tuple[Machine, Engine]):
    machine, engine = idle
    engine.submit("running", drawing(CONFIG))
    logs(machine, engine, 3)
    engine.submit("classes", classifying(CONFIG, 300, number=77))
    (log,) = logs(machine, engine, 1)
    # The left text, the image, and all values of the chunk.
    assert len(log.uploads) <= 3
    # The prompts are replays. A pass over any number of classes is launched kernel by kernel.
    assert log.replays in {2, 3}, "the left text may be stored already"
    assert log.launches["stretch_kernel"] <= 2 * CONFIG.num_layers
    assert [wait.what for wait in log.waits] == ["Event.synchronize"]


def test_a_mixed_hour_plans_few_shapes_of_attention(idle: tuple[Machine, Engine]):
    """cuDNN plans each new shape while all sequences wait. Attention on the cache has no shapes to plan."""
    machine, engine = idle
    for number in range(16):
        works = (
            drawing(CONFIG, seeds=1 + number % 3, number=number),
            captioning(CONFIG, number=number, prompt=1 + number * 3 % 50),
            continuing(CONFIG, prompt=1 + number * 3),
            classifying(CONFIG, 3 + 7 * number, longest=2 + number, number=number),
        )
        for kind, work in enumerate(works):
            engine.submit(f"{number} {kind}", work)
        logs(machine, engine, 4)
        for kind in range(len(works)):
            engine.cancel(f"{number} {kind}")
    assert len(machine.attention_shapes) <= MAX_ATTENTION_SHAPES


def test_every_argument_of_a_kernel_has_the_alignment_that_it_was_compiled_for(
    running: tuple[Machine, Engine],
):
    assert not running[0].unaligned


def test_decode_steps_go_before_images_on_the_device(running: tuple[Machine, Engine]):
    """The streams' priorities at capture stay with the graphs; lower numbers go first."""
    machine, _ = running
    images = {id(graph) for graph in machine.graphs if "conv2d" in graph.nodes}
    assert images
    for graph in machine.graphs:
        assert graph.priority == (0 if id(graph) in images else -1)
