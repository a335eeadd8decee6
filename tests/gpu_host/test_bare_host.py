"""The GPU tests and benchmarks start on a host that has torch and few of the project's other packages.

A GPU host without a network may lack most of them. The packages that docs/gpu.md names are enough: all others
of constraints.txt are hidden from the interpreter here.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed: the GPU tests are NOT tested")

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "gpu.md"
BLOCKER = """
import sys
HIDDEN = set({hidden!r})
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}} (hidden)", name=name)
sys.meta_path.insert(0, Hide())
sys.argv = {argv!r}
import runpy
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def _documented(name: str) -> set[str]:
    """The packages of a list in docs/gpu.md."""
    (words,) = re.findall(
        rf"<!-- {name} -->\n(.+?)\n<!-- end -->", GUIDE.read_text(encoding="utf-8"), re.DOTALL
    )
    return {word.lower().replace("-", "_") for word in re.findall(r"`([\w.-]+)`", words)}


def _closure(names: set[str]) -> set[str]:
    """The packages and what they require, without extras."""
    todo, found = list(names), set[str]()
    while todo:
        name = todo.pop().lower().replace("-", "_")
        if name in found:
            continue
        found.add(name)
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        todo += [
            match[0]
            for one in required
            if "extra ==" not in one and (match := re.match(r"[\w.-]+", one)) is not None
        ]
    return found


def _hidden(allowed: set[str]) -> list[str]:
    """The modules of all pinned packages but these and what they require."""
    pinned = {
        line.partition("==")[0].strip().lower().replace("-", "_")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    by_module = importlib.metadata.packages_distributions()
    hidden = pinned - _closure(allowed)
    return sorted(
        module
        for module, packages in by_module.items()
        if all(package.lower().replace("-", "_") in hidden for package in packages)
    )


def _run(module: str, *arguments: str, allowed: set[str]) -> subprocess.CompletedProcess[str]:
    program = BLOCKER.format(hidden=_hidden(allowed), argv=[module, *arguments], module=module)
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        # The plugins of pytest that this machine has are absent there.
        env=os.environ
        | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


def _documented_command() -> list[str]:
    """The arguments of pytest in docs/gpu.md, up to the marker."""
    (line,) = re.findall(r"^python -m pytest (.+)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    return line.split()


def test_hidden_packages_are_those_that_a_bare_host_lacks() -> None:
    hidden = _hidden(_documented("bare host"))
    assert {"structlog", "msgspec", "youtokentome", "fastapi", "redis", "hiredis", "xdist"} <= set(hidden)
    assert not {"torch", "triton", "numpy", "PIL", "pytest", "psutil"} & set(hidden)


def test_kernel_tests_run_with_the_packages_of_a_bare_host() -> None:
    tests = ["tests/model/backends/cuda/test_triton_norm.py", "-q", "-x", "-o", "filterwarnings=default"]
    done = _run("pytest", *tests, "-p", "no:cacheprovider", allowed=_documented("bare host"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"\d+ passed", done.stdout)


def test_documented_command_collects_with_the_packages_that_are_carried() -> None:
    allowed = _documented("bare host") | _documented("carried for the tests")
    done = _run("pytest", *_documented_command(), "--collect-only", "-p", "no:cacheprovider", allowed=allowed)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "test_graphs.py" in done.stdout


@pytest.mark.slow
def test_benchmark_runs_with_the_packages_of_a_bare_host(tmp_path: Path) -> None:
    output = tmp_path / "first.json"
    sections = ["--device", "cpu", "--tiny", "--only", "engine", "--output", str(output)]
    done = _run("bench.gpu", *sections, allowed=_documented("bare host"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert output.exists()


def test_server_and_doctor_load_with_the_packages_that_are_carried() -> None:
    allowed = (
        _documented("bare host")
        | _documented("carried for the tests")
        | _documented("carried for the server")
    )
    # The last one runs as `rudolph --help`, after the others were loaded.
    imports = "import app.main, bench.gpu_server, cli.doctor, jobs.redis.embedded, workers.process"
    program = BLOCKER.format(hidden=_hidden(allowed), argv=["cli", "--help"], module="cli")
    done = subprocess.run(
        [sys.executable, "-c", program.replace("import runpy", f"{imports}\nimport runpy")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
