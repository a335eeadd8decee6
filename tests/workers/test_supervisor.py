"""The supervisor with real processes: small programs with the exit codes of a worker."""

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
from workers.supervisor import Supervisor

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


def test_worker_that_waits_for_its_gpu_is_tried_again_after_growing_pauses_however_long_a_try_takes(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "HEALTHY_AFTER_S", 0.0)
    one = start(STARTED + f"sys.exit({exit_codes.UNAVAILABLE})")
    wait_until(lambda: starts(tmp_path) >= 3)
    times = sorted(int(path.name) / 1e9 for path in tmp_path.iterdir())[:3]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[0] >= supervisor.FIRST_PAUSE_S
    assert pauses[1] >= 2 * supervisor.FIRST_PAUSE_S
    assert not one.misconfigured


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


def test_stop_lets_every_worker_drain(start: Start, tmp_path: Path) -> None:
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
    reported: list[tuple[str, str | None]] = []
    one = start(
        STARTED
        + "time.sleep(0.1)\nos.kill(os.getpid(), signal.SIGSEGV if os.environ['INDEX'] == '0' else 9)",
        count=2,
        on_end=lambda worker_id, _reason, fault: reported.append((worker_id, fault)),
    )
    wait_until(lambda: starts(tmp_path) >= 4)
    one.stop()
    faults = [(worker_id, fault) for worker_id, fault in reported if fault is not None]
    assert faults
    assert all("-0-" in worker_id and "SIGSEGV" in fault for worker_id, fault in faults)
    assert any("-1-" in worker_id for worker_id, fault in reported if fault is None)


def test_kill_for_want_of_memory_is_reported(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = tmp_path.with_suffix(".vmstat")
    kills.write_text("nr_free_pages 1\noom_kill 4\n")
    read = supervisor.out_of_memory_kills
    monkeypatch.setattr(supervisor, "out_of_memory_kills", lambda: read(kills))
    reported: list[str | None] = []
    one = start(STAYS, on_end=lambda _worker_id, _reason, fault: reported.append(fault))
    wait_until(lambda: starts(tmp_path) == 1)
    kills.write_text("nr_free_pages 1\noom_kill 5\n")
    os.kill(one.pids[0], signal.SIGKILL)
    wait_until(lambda: bool(reported))
    assert "memory" in str(reported[0])


def test_no_worker_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    worker = (
        "import os, pathlib, time\n"
        "from workers.orphan_guard import exit_when_parent_dies\n"
        "exit_when_parent_dies(1)\n"
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
    """An orphan that init has not reaped yet is a zombie: it has ended, but still has a process id."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_retired_worker_is_not_started_again_and_other_ends_are_reported(
    start: Start, tmp_path: Path
) -> None:
    ends: list[str] = []
    program = (
        STARTED
        + f"codes = [{exit_codes.CRASHED}, {exit_codes.HUNG}, {exit_codes.RETIRED}]\n"
        + "sys.exit(codes[len(os.listdir(os.environ['PLACE'])) - 1])"
    )
    one = start(program, on_end=lambda worker_id, reason, _fault: ends.append(reason))
    assert one.wait(20)
    assert ends == ["crashed", "hung"]
    assert starts(tmp_path) == 3
    assert not one.misconfigured


def test_end_of_a_process_has_one_word() -> None:
    codes = (exit_codes.CRASHED, exit_codes.HUNG, exit_codes.UNAVAILABLE, -signal.SIGKILL, 1, 0)
    words = ["crashed", "hung", "unavailable", "killed", "exited", "exited"]
    assert [exit_codes.reason_of(code) for code in codes] == words
