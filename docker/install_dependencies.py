"""Installs what pyproject.toml asks for, without the project itself, so that image layers stay cached.

Usage: install_dependencies.py [--torch-index URL] [EXTRA…]
"""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "install", "-c", "constraints.txt", "--no-build-isolation"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch-index", default="")
    parser.add_argument("extras", nargs="*")
    options = parser.parse_args()
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted: list[str] = list(project["dependencies"])
    for extra in options.extras:
        wanted += project["optional-dependencies"][extra]
    if options.torch_index and "torch" in wanted:
        subprocess.run([*PIP, "--index-url", options.torch_index, "torch"], check=True)
    subprocess.run([*PIP, *wanted], check=True)


if __name__ == "__main__":
    main()
