"""The entry point of the containers, with the real command: a wrong setting waits, all else ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.redis_servers import free_port

ENTRY = Path(__file__).resolve().parents[2] / "docker" / "entry.sh"


@contextmanager
def entry(folder: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder)}
    command = ["sh", str(ENTRY), *arguments]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if word in line:
            return text
    raise AssertionError(text)


def stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(20)


def test_a_wrong_setting_waits_and_ends_at_once_when_it_is_stopped(tmp_path: Path) -> None:
    with entry(tmp_path, "worker", RUDOLPH_REDIS_URL="http://nonsense") as process:
        text = read_until(process, "Exit code 78")
        assert "RUDOLPH_REDIS_URL" in text
        time.sleep(0.5)
        assert process.poll() is None
        assert stop(process) == 78


def test_a_missing_checkpoint_is_a_wrong_setting(tmp_path: Path) -> None:
    redis = {"RUDOLPH_REDIS_URL": "redis://127.0.0.1:1", "RUDOLPH_MODEL": str(tmp_path / "nothing")}
    with entry(tmp_path, "worker", **redis) as process:
        assert "no checkpoint folder" in read_until(process, "Exit code 78")


def test_a_wrong_checkpoint_is_one_too_and_every_log_line_is_json(tmp_path: Path) -> None:
    redis = {"RUDOLPH_REDIS_URL": "redis://127.0.0.1:1", "RUDOLPH_MODEL": str(tmp_path)}
    with entry(tmp_path, "worker", RUDOLPH_LOG_FORMAT="json", **redis) as process:
        *lines, _cause, _hint = read_until(process, "Exit code 78").splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events == ["worker_spawned", "model_not_loaded", "worker_misconfigured"]


def test_other_codes_end_so_that_a_restart_can_help(tmp_path: Path) -> None:
    with entry(tmp_path, "serve", "--no-such-option") as process:
        assert process.wait(20) == 2


def test_other_commands_never_wait(tmp_path: Path) -> None:
    with entry(tmp_path, "jobs", "list", RUDOLPH_REDIS_URL="http://nonsense") as process:
        assert process.wait(20) == 78


def test_the_server_gets_the_signal_and_ends_with_its_own_code(tmp_path: Path) -> None:
    with entry(tmp_path, "serve", "--workers", "0", "--port", str(free_port())) as process:
        read_until(process, "is ready on")
        assert stop(process) == 0
