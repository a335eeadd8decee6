"""The lists of packages: complete, equal to the pins, and hashes that pip enforces."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LISTS = sorted((ROOT / "requirements").glob("*.txt"))
WITHOUT_HASH = {"torch"}
"""Installed by version, because its builds are other files: docs/security.md."""
CLIENTS = ("clients", "clients-openai2", "clients-litellm-proxy")
"""Environments of their own, with the newest versions of packages that call the server."""
EXTRAS = {
    "api": ("tracing", "mcp"),
    "run": ("worker", "embedded"),
    "worker": ("worker", "tracing"),
    "dev": ("worker", "embedded", "dev"),
}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Version and hashes by name."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, tuple[str, list[str]]] = {}
    for line in text.splitlines():
        if match := re.match(r"([A-Za-z0-9_.-]+)==([^ ;]+)", line):
            found[normalized(match[1])] = (match[2], re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line))
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        normalized(name): version
        for name, separator, version in (line.partition("==") for line in lines)
        if separator
    }


def test_every_list_is_there() -> None:
    assert {path.stem for path in LISTS} == {*EXTRAS, "build", "torch", "train", "fuzz", "supply", *CLIENTS}


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_every_package_has_hashes_and_the_version_of_the_constraints(path: Path) -> None:
    pinned = {} if path.stem in CLIENTS else pins()
    for name, (version, hashes) in entries(path).items():
        assert hashes, f"{name} has no hash"
        assert pinned.get(name, version) == version, f"{name}: run make lock"


@pytest.mark.parametrize("name", EXTRAS)
def test_a_list_has_every_dependency_of_its_extras(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = list(project["dependencies"])
    for extra in EXTRAS[name]:
        needed += project["optional-dependencies"][extra]
    names = {normalized(match[0]) for word in needed if (match := re.match(r"[A-Za-z0-9_.-]+", word))}
    assert names - WITHOUT_HASH <= set(entries(ROOT / "requirements" / f"{name}.txt")), "run make lock"


def test_the_makefile_and_the_images_install_only_with_hashes() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    dockerfile = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    pip = r"(?:\$\(PIP\)|pip(?: --python /opt/venv)?) (?:install|wheel) [^\n;&]*"
    commands = re.findall(pip, makefile + dockerfile)
    assert len(commands) > 10
    for command in commands:
        is_project = "--no-deps" in command and command.rstrip().endswith(".")
        is_built = "--no-index /wheels/*.whl" in command  # by one of the other commands
        is_torch = command.split()[-1].rstrip(")") == "torch" or "^torch==" in command
        assert "--require-hashes" in command or is_project or is_built or is_torch, command


def _wheel(folder: Path) -> Path:
    path = folder / "sample-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sample.py", "")
        archive.writestr(
            "sample-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n"
        )
        archive.writestr(
            "sample-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("sample-1.0.dist-info/RECORD", "")
    return path


@pytest.mark.parametrize("changed", [False, True])
def test_a_file_with_another_hash_is_not_installed(tmp_path: Path, changed: bool) -> None:
    wheel = _wheel(tmp_path)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if changed:
        with zipfile.ZipFile(wheel, "a") as archive:
            archive.writestr("sample_payload.py", "")
    (tmp_path / "list.txt").write_text(f"sample==1.0 \\\n    --hash=sha256:{digest}\n")
    command = [
        *(sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path), "--no-deps"),
        *("--require-hashes", "--target", str(tmp_path / "target"), "-r", str(tmp_path / "list.txt")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode == 0) is not changed, done.stdout + done.stderr
    assert (tmp_path / "target" / "sample.py").exists() is not changed
