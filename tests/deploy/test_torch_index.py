"""`TORCH_INDEX` installs: torch from an index of its own, everything else from the default index."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _wheel(index: Path, name: str, version: str, *requires: str) -> None:
    """Write a wheel and the page of its project, as a package index serves them."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    file = f"{module}-{version}-py3-none-any.whl"
    information = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    with zipfile.ZipFile(folder / file, "w") as archive:
        archive.writestr(f"{module}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{information}/METADATA", metadata)
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    page = folder / "index.html"
    links = page.read_text() if page.exists() else ""
    page.write_text(f'{links}<a href="{file}">{file}</a>\n')


def _commands() -> list[str]:
    """Return the commands of the Dockerfile that install torch, and what another build of it needs."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    commands = re.findall(r"^RUN (?:--mount=\S+ +)?(if .*TORCH_INDEX.*)$", text, flags=re.MULTILINE)
    assert len(commands) == 2
    return commands


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An environment, an index with builds of torch, a default index, and the packages of the worker."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "torch.txt").write_text("torch==2.13.0 \\\n    --hash=sha256:0\n")
    builds, default = tmp_path / "builds", tmp_path / "default"
    needs = ("filelock", "numpy", "nvidia-cublas-cu12==12.6")
    _wheel(builds, "torch", "2.13.0+cu126", *needs)
    # The packages beside it are other versions than those that were tested together.
    _wheel(builds, "filelock", "3.0")
    _wheel(default, "torch", "2.13.0", "filelock", "nvidia-cublas==13.0")
    _wheel(default, "filelock", "4.2")
    _wheel(default, "filelock", "9.9")
    _wheel(default, "numpy", "2.0")
    _wheel(default, "nvidia-cublas-cu12", "12.6")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "pip").write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@"\n')
    (tmp_path / "commands" / "pip").chmod(0o755)
    return tmp_path


def _run(place: Path, command: str, image: str) -> None:
    """Run a command of the Dockerfile with folders of this test."""
    venv = place / "venv"
    paths = {
        "/torch/opt/venv": f"{place / 'torch'}{venv}",
        "/image/opt/venv": f"{place / image}{venv}",
        "/image": str(place / image),
        "/opt/venv": str(venv),
    }
    command = re.sub("|".join(paths), lambda found: paths[found[0]], command)
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=place,
        env={
            "PATH": f"{place / 'commands'}:{os.environ['PATH']}",
            "TORCH_INDEX": (place / "builds").as_uri(),
            "HOME": str(place),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": (place / "default").as_uri(),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_torch_comes_from_its_index_and_what_it_needs_from_the_default_one(place: Path) -> None:
    torch_command, needs_command = _commands()
    _run(place, torch_command, "torch")
    _run(place, "pip --python /opt/venv install --root /image --no-deps filelock==4.2 numpy==2.0", "image")
    _run(place, needs_command, "image")
    installed = {path.name for path in place.glob("torch/**/*.dist-info")}
    assert installed == {"torch-2.13.0+cu126.dist-info"}
    needs = {path.name.removesuffix(".dist-info") for path in place.glob("image/**/*.dist-info")}
    assert needs == {"filelock-4.2", "numpy-2.0", "nvidia_cublas_cu12-12.6"}


def test_make_installs_torch_alone_from_its_index_first() -> None:
    command = ["make", "--dry-run", "--always-make", ".venv/stamps/run"]
    done = subprocess.run(
        [*command, "TORCH_INDEX=https://builds"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    installs = [line.partition(" install ")[2] for line in done.stdout.splitlines() if " install " in line]
    assert installs[-3:] == [
        "-c constraints.txt --no-deps --index-url https://builds torch",
        "-c constraints.txt torch",
        "--no-deps --no-build-isolation -e .",
    ]
    plain = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--index-url" not in plain.stdout
