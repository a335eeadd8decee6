"""The worker image can do what Triton does at the first launch of a kernel: compile and load a C module.

With a container engine and the base image at hand, the last stage is built and used. Without them, only the
commands that its packages bring are on PATH, and the Dockerfile must name the packages.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGE = "runtime-worker"
COMPILE = """
from triton.runtime.build import compile_module_from_src
source = '''
#include <Python.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
static PyObject *answer(PyObject *self, PyObject *args) { return PyLong_FromLong(labs(-42)); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "first_launch", 0, -1, methods};
PyMODINIT_FUNC PyInit_first_launch(void) { return PyModule_Create(&module); }
'''
print(compile_module_from_src(source, "first_launch").answer())
"""
BUILD_DRIVER = """
# The module that Triton builds at the first launch, linked against a stand-in for the driver's library.
import subprocess, tempfile, triton.runtime.build as build
from pathlib import Path
folder = Path(tempfile.mkdtemp())
(folder / 'empty.c').write_text('')
subprocess.run(['gcc', '-shared', '-o', folder / 'libcuda.so.1', folder / 'empty.c'], check=True)
backend = Path(build.__file__).parents[1] / 'backends' / 'nvidia'
source = (backend / 'driver.c').read_text()
(folder / 'main.c').write_text(source)
print(Path(build._build('cuda_utils', str(folder / 'main.c'), str(folder), [str(folder)],
                        [str(backend / 'include')], ['libcuda.so.1'], [])).stat().st_size > 0)
"""


def _stages() -> dict[str, tuple[str, str]]:
    """Base and instructions of each stage of the Dockerfile."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    parts = re.split(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)[1:]
    return {name: (base, body) for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def _packages(stage: str) -> set[str]:
    """Debian packages that a stage and those below it install."""
    found: set[str] = set()
    stages = _stages()
    while stage in stages:
        stage, body = stages[stage]
        for words in re.findall(r"apt-get install ([^&\n]*)", body):
            found |= {word for word in words.split() if not word.startswith("-")}
    return found


def _engine() -> str | None:
    """A container engine that runs here and has the base image."""
    base = _stages()["base"][0]
    for name in ("podman", "docker"):
        command = [name, "image", "inspect", base]
        if shutil.which(name) and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return name
    return None


def _triton() -> Path:
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        pytest.skip("triton has no wheel for this machine")
    return Path(spec.origin).parent


def test_worker_image_has_a_compiler_and_the_api_image_has_none() -> None:
    assert {"gcc", "libc6-dev"} <= _packages("worker")
    assert _packages("api") == set()


@pytest.mark.slow
def test_triton_compiles_a_module_in_the_worker_image() -> None:
    engine = _engine()
    if engine is None:
        pytest.skip("the worker image was NOT BUILT: no container engine here has its base image")
    triton = _triton()
    base = [engine, "run", "--rm", "--network=none", "--pull=never", _stages()["base"][0], "python", "-c"]
    version = subprocess.run(
        [*base, "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=True
    )
    if tuple(map(int, version.stdout.split())) != sys.version_info[:2]:
        pytest.skip("triton here is of another Python than the image's")
    image = "rudolph-test-runtime-worker"
    build = [engine, "build", "--network=host", "--target", STAGE, "--tag", image, "."]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert built.returncode == 0, built.stdout + built.stderr
    # As docker-compose.yml runs it: not root, nothing writable but /data and /tmp.
    options = [
        *("--rm", "--network=none", "--read-only", "--tmpfs", "/tmp", "--user", "10001:10001"),
        *("--volume", f"{triton}:/packages/triton:ro", "--env", "PYTHONPATH=/packages"),
    ]
    command = [engine, "run", *options, "--entrypoint", "python", image, "-c", COMPILE + BUILD_DRIVER]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.stdout.split() == ["42", "True"], ran.stderr


@pytest.mark.parametrize(
    ("commands", "expected"), [(("gcc", "as", "ld"), "42"), ((), "Failed to find C compiler")]
)
def test_triton_needs_gcc_and_no_more(tmp_path: Path, commands: tuple[str, ...], expected: str) -> None:
    """With the commands of the package gcc and of binutils, which it depends on."""
    _triton()
    for command in commands:
        found = shutil.which(command)
        if found is None:
            pytest.skip(f"{command} is not installed")
        (tmp_path / command).symlink_to(found)
    ran = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env={"PATH": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path / "cache"), "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert expected in ran.stdout + ran.stderr
