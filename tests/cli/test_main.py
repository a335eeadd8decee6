"""The command line as a person meets it: real processes, their output and their exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = ("generate", "caption", "classify")
COMMANDS = ("serve", "worker", *TASKS, "doctor", "download", "jobs", "dead", "train")


def rudolph(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | variables,
    )


def assert_one_line(reply: subprocess.CompletedProcess[str], *words: str) -> None:
    assert reply.returncode != 0
    assert "Traceback" not in reply.stderr
    (line,) = reply.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_help_names_every_command() -> None:
    reply = rudolph("--help")
    assert reply.returncode == 0
    for command in COMMANDS:
        assert command in reply.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    reply = rudolph(command, "--help")
    assert reply.returncode == 0
    assert f"rudolph {command}" in reply.stdout


def test_help_loads_neither_torch_nor_the_server() -> None:
    program = (
        "import sys\n"
        "import cli.main\n"
        "try:\n    sys.argv = ['rudolph', '--help']\n    cli.main.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'fastapi', 'uvicorn', 'redis', 'youtokentome'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    reply = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert reply.returncode == 0, reply.stderr


def test_unknown_command_is_one_line() -> None:
    assert_one_line(rudolph("draw"), "draw")


def test_option_out_of_range_is_one_line() -> None:
    assert_one_line(rudolph("generate", "кот", "-n", "30"), "-n", "16")


def test_missing_server_is_one_line_that_names_the_way_out() -> None:
    assert_one_line(rudolph("generate", "кот", "--server", "http://127.0.0.1:9"), "rudolph serve", "--local")


def test_url_that_is_none_is_one_line() -> None:
    assert_one_line(rudolph("generate", "кот", "--server", "http://[::1"), "http://[::1")


def test_missing_picture_is_one_line(tmp_path: Path) -> None:
    assert_one_line(rudolph("caption", str(tmp_path / "none.png")), "none.png")


def test_single_class_is_one_line(tiny_v2: Path) -> None:
    assert_one_line(rudolph("classify", str(tiny_v2 / "picture0.png"), "кот"), "two classes")


def test_unknown_preset_is_one_line_that_lists_the_presets() -> None:
    assert_one_line(rudolph("download", "9B"), "350M", "2.7B-FBC2")


def test_missing_checkpoint_folder_is_one_line(tmp_path: Path) -> None:
    assert_one_line(rudolph("serve", "--model", str(tmp_path / "none"), "--port", "0"), "rudolph download")


def test_worker_without_a_queue_says_what_it_needs() -> None:
    assert_one_line(rudolph("worker"), "--redis-url")


def test_wrong_variable_of_a_worker_is_named() -> None:
    reply = rudolph("worker", "--redis-url", "redis://127.0.0.1:9", RUDOLPH_SLOTS="many")
    assert_one_line(reply, "RUDOLPH_SLOTS")
    assert reply.returncode == 78


def test_key_that_is_too_short_is_said_before_anything_starts() -> None:
    reply = rudolph("serve", "--port", "0", RUDOLPH_API_KEYS="tester=short")
    assert_one_line(reply, "RUDOLPH_API_KEYS", "16 characters")
    assert "short" not in reply.stderr
    assert reply.returncode == 78
