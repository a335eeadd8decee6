"""The images: a changed line of the project changes a small layer, and the worker can compile as Triton does.

With a container engine and the base image at hand, stages are built and used. Without them, only the
Dockerfile is read.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
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
    for name, value in re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, flags=re.MULTILINE):
        text = text.replace(f"FROM ${{{name}}} ", f"FROM {value} ")
    parts = re.split(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)[1:]
    return {name: (base, body) for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def _copied(stage: str) -> list[str]:
    """Stages that a stage copies from, from below."""
    return re.findall(r"^COPY --from=(\S+)", _stages()[stage][1], flags=re.MULTILINE)


def _below(stage: str) -> set[str]:
    """A stage and all whose changes rebuild it."""
    base, body = _stages()[stage]
    others = {base, *re.findall(r"\bfrom=([\w-]+)", body)} & set(_stages())
    return {stage}.union(*(_below(one) for one in others))


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


def test_packages_are_in_layers_below_the_project() -> None:
    assert _copied("worker") == ["torch", "dependencies-worker", "build-worker"]
    assert _copied("api") == ["dependencies-api", "build-api"]
    assert _stages()["worker"][0] == "runtime-worker"


def test_a_change_of_the_project_or_of_its_tools_rebuilds_no_packages() -> None:
    for stage in ("torch", "dependencies-worker", "dependencies-api", "runtime-worker"):
        assert "source" not in _below(stage)
        copied = [
            word
            for one in _below(stage)
            for line in re.findall(r"^COPY (?!--from)(.*)$", _stages()[one][1], flags=re.MULTILINE)
            for word in line.split()[:-1]
        ]
        expected = {f"requirements/{name}.txt" for name in ("build", "api", "worker", "torch")}
        assert set(copied) <= {*expected, "docker/healthcheck.py", "docker/entry.sh"}
    # A new version of another package rebuilds no torch.
    assert "dependencies-worker" not in _below("torch")


def test_nothing_that_builds_is_in_the_images() -> None:
    assert "--without-pip" in _stages()["base"][1]
    assert "pip uninstall --yes" in _stages()["runtime"][1]
    for stage in ("api", "worker"):
        assert not {"builder", "compiler"} & set(_copied(stage))
        assert "torch" not in _below("api")


def test_the_build_gets_what_the_dockerfile_copies_and_no_more() -> None:
    listed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in listed if line.startswith("!")}
    copied = {
        word
        for _, body in _stages().values()
        for line in re.findall(r"^COPY (?!--from)(.*)$", body, flags=re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied == allowed


def test_images_say_what_they_are() -> None:
    for stage in ("api", "worker"):
        body = _stages()[stage][1]
        labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', body))
        assert labels["title"] == f"rudolph-{stage}"
        assert labels["licenses"] == "Apache-2.0"
        arguments = {name: labels[name].removeprefix("$") for name in ("version", "revision", "source")}
        assert arguments == {name: name.upper() for name in arguments}
        # Below them, every new revision would rebuild the layers.
        assert "COPY" not in body.partition("ARG REVISION")[2]


def _bytes(sizes: str) -> list[float]:
    """Read sizes as engines print them: 5.35 MB, 4.61kB."""
    units = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    return [float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) ?([kMG]?B)\b", sizes)]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_changed_line_changes_a_layer_of_a_few_megabytes(tmp_path: Path) -> None:
    engine = _engine()
    if engine is None:
        pytest.skip("the API image was NOT BUILT: no container engine here has its base image")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in tracked.stdout.split("\0"):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "bench/", "checkpoints/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    layers: list[list[str]] = []
    for revision in ("one", "two"):
        # A line of its own: podman 4.3 takes a label from its cache while no file has changed.
        with (tmp_path / "app" / "main.py").open("a") as file:
            file.write(f"# {uuid.uuid4()}\n")
        image = f"rudolph-test-layers-{revision}"
        build = [engine, "build", "--network=host", "--target", "api", "--tag", image]
        build += ["--build-arg", f"REVISION={revision}", "."]
        built = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stdout + built.stderr
        found = json.loads(subprocess.check_output([engine, "image", "inspect", image]))[0]
        layers.append(found["RootFS"]["Layers"])
        assert found["Config"]["Labels"]["org.opencontainers.image.revision"] == revision
    history = [engine, "history", "--format", "{{.Size}}", "rudolph-test-layers-two"]
    sizes = _bytes(subprocess.check_output(history, text=True))
    (changed,) = [index for index, pair in enumerate(zip(*layers, strict=True)) if pair[0] != pair[1]]
    assert changed == len(layers[0]) - 1
    top = next(size for size in sizes if size)
    assert top < 20_000_000, sizes


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
        *(
            "--rm",
            "--network=none",
            "--read-only",
            "--tmpfs",
            "/tmp",
            "--volume",
            "/data",
            "--user",
            "10001:10001",
        ),
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
