"""A quarantined test does not fail a run, and the run lists it."""

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


def run(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    quarantined(reason): …\n", encoding="utf-8")
    (folder / "test_sample.py").write_text(tests, encoding="utf-8")
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
