"""The supervisor with real processes: small programs stand where a worker would, with its exit codes."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers import exit_codes, supervisor
from workers.supervisor import Supervisor, visible_gpus, worker_devices

STARTED = (
    "import os, pathlib, signal, sys, time; pathlib.Path(os.environ['PLACE'], str(time.time_ns())).touch()\n"
)
STAYS = STARTED + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\ntime.sleep(60)\n"
DEAF = STARTED + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n"

Start = Callable[..., Supervisor]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Supervisor] = []

    def run(program: str, count: int = 1, **options: object) -> Supervisor:
        environments = [{"PLACE": str(tmp_path), "INDEX": str(index)} for index in range(count)]
        one = Supervisor(environments, command=(sys.executable, "-c", program), **options)
        one.start()
        started.append(one)
        return one

    yield run
    for one in started:
        one.stop_grace_s = 0.5
        one.stop()


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


def starts(place: Path) -> int:
    return len(list(place.iterdir()))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_failing_worker_is_restarted_after_growing_pauses(start: Start, tmp_path: Path) -> None:
    start(STARTED + f"sys.exit({exit_codes.CRASHED})")
    wait_until(lambda: starts(tmp_path) >= 4)
    times = sorted(int(path.name) / 1e9 for path in tmp_path.iterdir())[:4]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[0] >= supervisor.FIRST_PAUSE_S
    assert pauses[1] >= 2 * supervisor.FIRST_PAUSE_S
    assert pauses[2] >= 4 * supervisor.FIRST_PAUSE_S


def test_worker_killed_from_outside_is_replaced_by_one_with_another_id(start: Start, tmp_path: Path) -> None:
    one = start(STAYS.replace("str(time.time_ns())", "os.environ['RUDOLPH_WORKER_ID']"))
    wait_until(lambda: starts(tmp_path) == 1)
    (first,) = one.pids
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: starts(tmp_path) == 2)
    assert one.pids != [first]


def test_misconfigured_worker_is_not_restarted_and_is_reported(start: Start, tmp_path: Path) -> None:
    one = start(STARTED + f"sys.exit({exit_codes.MISCONFIGURED})", count=2)
    assert one.wait(timeout_s=20)
    assert one.misconfigured
    assert starts(tmp_path) == 2


def test_stop_lets_every_worker_end_by_itself(start: Start, tmp_path: Path) -> None:
    one = start(STAYS, count=3)
    wait_until(lambda: starts(tmp_path) == 3)
    pids = one.pids
    began_s = time.monotonic()
    one.stop()
    assert time.monotonic() - began_s < 5
    assert not any(is_alive(pid) for pid in pids)
    assert starts(tmp_path) == 3


def test_worker_deaf_to_sigterm_is_killed_after_the_grace(start: Start, tmp_path: Path) -> None:
    one = start(DEAF, stop_grace_s=0.5)
    wait_until(lambda: starts(tmp_path) == 1)
    pids = one.pids
    one.stop()
    assert not any(is_alive(pid) for pid in pids)


def test_fault_inside_a_worker_is_reported_but_a_kill_is_not(start: Start, tmp_path: Path) -> None:
    reported: list[tuple[str, str]] = []
    one = start(
        STARTED
        + "time.sleep(0.1)\nos.kill(os.getpid(), signal.SIGSEGV if os.environ['INDEX'] == '0' else 9)",
        count=2,
        on_crash=lambda worker_id, reason: reported.append((worker_id, reason)),
    )
    wait_until(lambda: starts(tmp_path) >= 4)
    one.stop()
    assert reported
    assert all("-0-" in worker_id and "SIGSEGV" in reason for worker_id, reason in reported)


def test_kill_for_want_of_memory_is_reported(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = tmp_path.with_suffix(".vmstat")
    kills.write_text("nr_free_pages 1\noom_kill 4\n")
    read = supervisor.out_of_memory_kills
    monkeypatch.setattr(supervisor, "out_of_memory_kills", lambda: read(kills))
    reported: list[str] = []
    one = start(STAYS, on_crash=lambda _worker_id, reason: reported.append(reason))
    wait_until(lambda: starts(tmp_path) == 1)
    kills.write_text("nr_free_pages 1\noom_kill 5\n")
    os.kill(one.pids[0], signal.SIGKILL)
    wait_until(lambda: bool(reported))
    assert "memory" in reported[0]


def test_no_worker_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    worker = (
        "import os, pathlib, time\n"
        "from workers.parent import leave_with_parent\n"
        "leave_with_parent(1)\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    program = (
        "import sys, time\n"
        "from workers.supervisor import Supervisor\n"
        f"Supervisor([{{}}], command=(sys.executable, '-c', {worker!r})).start()\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()))
        worker_pid = int(pid_file.read_text())
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_running(worker_pid), 10)
    finally:
        parent.kill()
        parent.wait()


def is_running(pid: int) -> bool:
    """An orphan that nobody has reaped yet is a zombie: dead, but still known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("device", "num_workers", "gpus", "expected"),
    [
        ("auto", None, 0, ["auto"]),
        ("auto", 2, 0, ["auto", "auto"]),
        ("auto", None, 2, ["cuda:0", "cuda:1"]),
        ("cuda", 3, 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda:1", None, 2, ["cuda:1"]),
        ("cpu", None, 2, ["cpu"]),
    ],
)
def test_devices_are_one_a_gpu_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, device: str, num_workers: int | None, gpus: int, expected: list[str]
) -> None:
    monkeypatch.setattr(supervisor, "visible_gpus", lambda: gpus)
    assert worker_devices(device, num_workers) == expected


def test_visible_gpus_counts_devices_within_the_environment_s_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus(tmp_path) == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert visible_gpus(tmp_path) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus(tmp_path) == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus(tmp_path) == 0
