"""Quarantined tests, and tests of real processes that failed once, do not fail a run; the run lists them."""

import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TESTS = """
import pytest

@pytest.mark.quarantined("waits for a clock")
def test_flaky():
    assert False

@pytest.mark.quarantined("waits for a port")
def test_lucky():
    pass

def test_other():
    pass
"""


FAILS_ONCE = """
import pathlib

def test_once():
    seen = pathlib.Path(__file__).with_suffix(".seen")
    first = not seen.exists()
    seen.touch()
    print("the printed line")
    assert not first, "the first time"
"""


def run(folder: Path, tests: str, *, room: str = ".") -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    quarantined(reason): …\n", encoding="utf-8")
    (folder / room).mkdir(exist_ok=True)
    (folder / room / "test_sample.py").write_text(tests, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_a_quarantined_test_is_listed_and_does_not_fail_the_run(tmp_path: Path):
    done = run(tmp_path, TESTS)
    assert done.returncode == 0, done.stdout
    listed = done.stdout.partition("QUARANTINED TESTS")[2]
    assert "failed: test_sample.py::test_flaky: quarantined: waits for a clock" in listed
    assert "passed: test_sample.py::test_lucky: quarantined: waits for a port" in listed
    assert "test_other" not in listed


def test_any_other_failure_fails_the_run(tmp_path: Path):
    done = run(tmp_path, "def test_other():\n    assert False\n")
    assert done.returncode == 1
    assert "QUARANTINED" not in done.stdout


def test_a_test_of_real_processes_has_a_second_try_and_is_listed(tmp_path: Path):
    done = run(tmp_path, FAILS_ONCE, room="jobs")
    assert done.returncode == 0, done.stdout
    listed = done.stdout.partition("TESTS THAT FAILED ONCE")[2]
    for words in ("jobs/test_sample.py::test_once", "the first time", "the printed line"):
        assert words in listed


def test_a_test_of_real_processes_that_fails_twice_fails_the_run(tmp_path: Path):
    done = run(tmp_path, "def test_other():\n    assert False\n", room="jobs")
    assert done.returncode == 1
    assert "1 rerun" in done.stdout
    assert "FAILED ONCE" not in done.stdout


def test_what_a_test_computes_has_one_try(tmp_path: Path):
    done = run(tmp_path, FAILS_ONCE, room="model")
    assert done.returncode == 1
    assert "1 rerun" not in done.stdout
