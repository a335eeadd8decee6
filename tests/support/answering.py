"""A checkpoint that accepts questions. Its weights are random, so its answers are too."""

import json
from pathlib import Path


def answering(checkpoint: Path, folder: Path) -> Path:
    """Return a copy of a checkpoint, in `folder`, whose config.json has the task `answer`."""
    folder.mkdir(parents=True)
    for file in checkpoint.iterdir():
        if file.name != "config.json":
            (folder / file.name).symlink_to(file)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"tasks": ["answer"]}), encoding="utf-8")
    return folder
