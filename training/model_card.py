"""Writes the model card of a checkpoint: its data and the settings of its training."""

import json
from pathlib import Path
from typing import Any

from training.state import replace_file


def write_model_card(folder: Path, data: str, details: dict[str, Any], *, licence: str = "") -> None:
    """Write README.md. details: training settings by the part that they trained."""
    settings = json.dumps(details, indent=1, ensure_ascii=False, default=_plain)
    text = f"""# {folder.resolve().name}

A RuDOLPH checkpoint, written by `rudolph train`. Serve it with `rudolph serve --model {folder.name}`.

## Data
{data}

## Licence
{licence or "Not stated: that of the data, and of the checkpoint that training started from."}

## Training
```json
{settings}
```
"""
    with replace_file(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, frozenset) else str(value)
