"""What surrounds a command: proxies, the process list, signals, the folder it is started in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from cli.surroundings import is_loopback, without_secrets
from tests.support.servers import ROOT, Server, serving

DEAD_PROXY = "http://127.0.0.1:9"
SECRET = "s3cret-s3cret-s3cret"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.5.5.5", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback_is_known_in_every_spelling(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


@pytest.mark.parametrize(
    ("arguments", "kept", "secrets"),
    [
        (["caption", "a", "--api-key", "k"], ["caption", "a"], {"RUDOLPH_API_KEY": "k"}),
        (["caption", "--api-key=k", "a"], ["caption", "a"], {"RUDOLPH_API_KEY": "k"}),
        (["worker", "--redis-url", "redis://u:p@h"], ["worker"], {"RUDOLPH_REDIS_URL": "redis://u:p@h"}),
        (["worker", "--redis-url=redis://h/0"], ["worker", "--redis-url=redis://h/0"], {}),
        (["worker", "--redis-url", "redis://h/0"], ["worker", "--redis-url", "redis://h/0"], {}),
        (["worker", "--redis-url"], ["worker", "--redis-url"], {}),
        (["generate", "--", "--api-key", "k"], ["generate", "--", "--api-key", "k"], {}),
    ],
)
def test_secrets_move_from_arguments_to_variables(
    arguments: list[str], kept: list[str], secrets: dict[str, str]
) -> None:
    assert without_secrets(arguments) == (kept, secrets)


def test_no_secret_is_in_the_process_list() -> None:
    command = [sys.executable, "-m", "cli", "worker", "--redis-url", f"redis://user:{SECRET}@127.0.0.1:9/0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as worker:
        try:
            deadline_s = time.monotonic() + 60
            while SECRET in "".join(psutil.Process(worker.pid).cmdline()):
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
            time.sleep(1)
            family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
            assert not [process.cmdline() for process in family if SECRET in "".join(process.cmdline())]
            assert "--redis-url" not in psutil.Process(worker.pid).cmdline()
        finally:
            worker.terminate()
            log = worker.communicate(timeout=60)[0]
    assert SECRET not in log


@pytest.mark.parametrize(
    "variables",
    [
        {"http_proxy": DEAD_PROXY, "HTTP_PROXY": DEAD_PROXY},
        {"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "localhost,127.0.0.1"},
        {"all_proxy": "nonsense://x"},
    ],
)
def test_no_proxy_stands_for_loopback(server_v2: Server, tmp_path: Path, variables: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "cli",
        "generate",
        "кот",
        "--server",
        server_v2.url,
        "-o",
        str(tmp_path / "a.png"),
    ]
    reply = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert reply.returncode == 0, reply.stderr
    check = [sys.executable, "docker/healthcheck.py", f"{server_v2.url}/health/live"]
    assert (
        subprocess.run(check, check=False, cwd=ROOT, env=os.environ | variables, timeout=60).returncode == 0
    )


def test_a_proxy_that_cannot_be_used_is_one_line_for_other_hosts(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "cli",
        "generate",
        "кот",
        "--server",
        "http://10.255.255.1",
        "-o",
        str(tmp_path),
    ]
    reply = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=os.environ | {"ALL_PROXY": "socks5://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert reply.returncode == 1
    (line,) = reply.stderr.strip().splitlines()
    assert "NO_PROXY" in line


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_command_that_is_killed_cancels_its_job(
    server_v2: Server, tmp_path: Path, number: signal.Signals, exit_code: int
) -> None:
    command = [
        sys.executable,
        "-m",
        "cli",
        "generate",
        "кот",
        "--candidates",
        "256",
        "--server",
        server_v2.url,
    ]
    worker = server_v2.worker_pids()[-1]

    def running_jobs() -> float:
        lines = httpx.get(f"{server_v2.url}/metrics").text.splitlines()
        return sum(
            float(line.split()[1])
            for line in lines
            if line.startswith(("rudolph_jobs_running ", "rudolph_jobs_waiting "))
        )

    os.kill(worker, signal.SIGSTOP)  # a fast worker would end the job before the signal
    try:
        running = subprocess.Popen(
            [*command, "-o", str(tmp_path / "a.png")], cwd=ROOT, stderr=subprocess.PIPE
        )
        deadline_s = time.monotonic() + 60
        while not running_jobs():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        running.send_signal(number)
        stderr = running.communicate(timeout=60)[1]
        assert running.returncode == exit_code
        assert b"Traceback" not in stderr
        deadline_s = time.monotonic() + 5
        while running_jobs():
            assert time.monotonic() < deadline_s, "the job still waits"
            time.sleep(0.05)
    finally:
        os.kill(worker, signal.SIGCONT)


@pytest.mark.parametrize("module", ["torch", "msgspec", "workers"])
def test_a_worker_imports_nothing_from_the_folder_it_is_started_in(
    tiny_v2: Path, tmp_path: Path, module: str
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    marker = tmp_path / "imported"
    (folder / f"{module}.py").write_text(f"open({str(marker)!r}, 'w')\nraise ImportError\n")
    with serving(tiny_v2, tmp_path / "server", folder=folder) as server:
        assert server.client.get("/health/ready").status_code == 200
    assert not marker.exists()


def test_serve_listens_on_an_address_in_brackets(tiny_v2: Path, tmp_path: Path) -> None:
    with serving(tiny_v2, tmp_path, "--host", "[::1]", "--workers", "0") as server:
        assert server.url.startswith("http://[::1]:")
        assert server.client.get("/health/live").status_code == 200
