"""The compose files, read as YAML."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker-compose.yml"
GPU = "docker/compose.gpu.yml"
KEYS = "docker/compose.keys.yml"
FILES = (BASE, GPU, KEYS)


def compose(file: str = BASE) -> dict[str, Any]:
    return yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
