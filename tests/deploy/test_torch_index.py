"""`TORCH_INDEX` installs: torch from an index of its own, everything else from the default index."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pip
import pytest

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = "torch==2.13.0\nnumpy==2.0\nfilelock==4.2\n"


def _wheel(index: Path, name: str, version: str, *requires: str) -> None:
    """Write a wheel and the page of its project, as a package index serves them."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    file = f"{name}-{version}-py3-none-any.whl"
    information = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    with zipfile.ZipFile(folder / file, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{information}/METADATA", metadata)
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    page = folder / "index.html"
    links = page.read_text() if page.exists() else ""
    page.write_text(f'{links}<a href="{file}">{file}</a>\n')


def _torch_command() -> str:
    """Return the command of the Dockerfile that installs torch."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    (command,) = re.findall(r"^RUN (if \[ -z \"\$TORCH_INDEX\" \].*)$", text, flags=re.MULTILINE)
    return command


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project that needs torch, an index with builds of torch, and a default index."""
    (tmp_path / "constraints.txt").write_text(CONSTRAINTS)
    builds, default = tmp_path / "builds", tmp_path / "default"
    _wheel(builds, "torch", "2.13.0+cu126", "filelock", "numpy")
    # The packages beside it are other versions than those that were tested together.
    _wheel(builds, "filelock", "3.0")
    _wheel(default, "torch", "2.13.0", "filelock")
    _wheel(default, "filelock", "4.2")
    _wheel(default, "numpy", "2.0")
    return tmp_path


def test_torch_comes_from_its_index_and_the_rest_from_the_default_one(place: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True)
    python = str(place / "venv" / "bin" / "python")
    # The pip of this environment: to install one takes ten times as long.
    (place / "pip").symlink_to(Path(pip.__file__).parent)
    (place / "pip.sh").write_text(f'#!/bin/sh\nexec {python} -m pip "$@"\n')
    (place / "commands").mkdir()
    (place / "pip.sh").rename(place / "commands" / "pip")
    (place / "commands" / "pip").chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", _torch_command()],
        cwd=place,
        env={
            "PATH": f"{place / 'commands'}:{os.environ['PATH']}",
            "TORCH_INDEX": (place / "builds").as_uri(),
            "HOME": str(place),
            "PYTHONPATH": str(place),
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
    ask = "from importlib.metadata import version as v; print(v('torch'), v('filelock'), v('numpy'))"
    installed = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    assert installed.stdout.split() == ["2.13.0+cu126", "4.2", "2.0"]


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
