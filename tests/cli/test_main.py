"""The command line as a person meets it: real processes, their output and their exit codes."""

import importlib.metadata
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.servers import ROOT, serving

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


def test_version_is_printed() -> None:
    assert rudolph("--version").stdout == f"rudolph {importlib.metadata.version('rudolph-server')}\n"


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command(option: str) -> None:
    reply = rudolph(option)
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


def test_missing_key_names_the_option_and_the_variable(tmp_path: Path) -> None:
    keys = "tester=0123456789abcdef"
    with serving(ROOT / "checkpoints" / "demo", tmp_path, "--workers", "0", RUDOLPH_API_KEYS=keys) as server:
        reply = rudolph("generate", "кот", "--server", server.url)
    assert_one_line(reply, "--api-key", "RUDOLPH_API_KEY")


def test_url_that_is_none_is_one_line() -> None:
    assert_one_line(rudolph("generate", "кот", "--server", "http://[::1"), "http://[::1")


def test_missing_picture_is_one_line(tmp_path: Path) -> None:
    assert_one_line(rudolph("caption", str(tmp_path / "none.png")), "none.png")


def test_single_class_is_one_line(tiny_v2: Path) -> None:
    assert_one_line(rudolph("classify", str(tiny_v2 / "picture0.png"), "кот"), "Name two classes")


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


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--redis-url", "http://foo", "redis+cluster://; got another scheme"),
        ("--redis-url", "foo", "got a value that is no URL"),
        ("--device", "gpu", "must be auto, cpu, cuda or cuda:N; got 'gpu'"),
        ("--dtype", "int8", "float16, bfloat16 or float32; got 'int8'"),
        ("--preset", "9B", "350M"),
    ],
)
def test_wrong_option_is_one_line_before_anything_starts(
    tmp_path: Path, option: str, value: str, words: str
) -> None:
    variable = f"RUDOLPH_{option.strip('-').replace('-', '_').upper()}"
    data = str(tmp_path / "var")
    given = rudolph("serve", option, value, "--data-dir", data)
    inherited = rudolph("worker", **{variable: value})
    for reply in (given, inherited):
        assert_one_line(reply, option, variable, words)
        assert reply.returncode == 78
        assert "pydantic" not in reply.stderr
    assert not (tmp_path / "var").exists()


def test_wrong_variable_of_the_workers_ends_serve_before_anything_starts(tmp_path: Path) -> None:
    reply = rudolph("serve", "--data-dir", str(tmp_path / "var"), "--port", "0", RUDOLPH_SLOTS="1")
    assert_one_line(reply, "RUDOLPH_SLOTS", "greater than or equal to 2")
    assert reply.returncode == 78
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("command", [["generate", "кот"], ["doctor"]])
def test_device_is_checked_by_every_command(command: list[str]) -> None:
    reply = rudolph(*command, *(["--local"] if command[0] == "generate" else []), "--device", "gpu")
    assert_one_line(reply, "must be auto, cpu, cuda or cuda:N; got 'gpu'")
    assert reply.returncode == 78


def test_worker_process_alone_names_its_wrong_variable() -> None:
    reply = subprocess.run(
        [sys.executable, "-m", "workers"],
        env={**os.environ, "RUDOLPH_DEVICE": "gpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert_one_line(reply, "RUDOLPH_DEVICE: must be auto, cpu, cuda or cuda:N; got 'gpu'.")
    assert reply.returncode == 78


@pytest.mark.parametrize(
    ("url", "words"), [("http://foo", "got another scheme"), (None, "RUDOLPH_REDIS_URL is not set")]
)
def test_api_alone_names_its_wrong_variable(url: str | None, words: str) -> None:
    reply = subprocess.run(
        [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", "0"],
        env={name: value for name, value in os.environ.items() if name != "RUDOLPH_REDIS_URL"}
        | ({"RUDOLPH_REDIS_URL": url} if url else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert_one_line(reply, words)
    assert reply.returncode == 78


def test_unreachable_redis_is_named_without_its_password(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "cli", "serve", "--port", "0", "--workers", "0", "--redis-url"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "redis://user:sesame@127.0.0.1:1/0"], stdout=output, stderr=output
        )
    try:
        deadline_s = time.monotonic() + 30
        while "Cannot use Redis at redis://127.0.0.1:1/0" not in log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline_s, log.read_text(encoding="utf-8")
            time.sleep(0.1)
    finally:
        server.terminate()
        assert server.wait(30) == 0
    text = log.read_text(encoding="utf-8")
    assert "No server listens at the address" in text
    assert "sesame" not in text
