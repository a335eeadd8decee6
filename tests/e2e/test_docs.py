"""The Python examples of docs/clients.md, unchanged and in order, against a running server."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.servers import ROOT, Server

DOCUMENT = ROOT / "docs" / "clients.md"
ADDRESS = "http://127.0.0.1:8000"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_document_has_examples_of_both_kinds() -> None:
    assert sum("openai" in code for code in examples()) >= 5
    assert sum("httpx" in code for code in examples()) >= 2


def test_every_example_runs_and_the_files_that_it_names_are_pictures(
    server_v2: Server, tmp_path: Path
) -> None:
    outputs: list[str] = []
    for code in examples():
        assert ADDRESS in code
        reply = subprocess.run(
            [sys.executable, "-c", code.replace(ADDRESS, server_v2.url)],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert reply.returncode == 0, f"{code}\n{reply.stderr}"
        outputs.append(reply.stdout)
    for name in ("cat0.png", "cat1.png", "part0.png", "final.png", "hole.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG"), name
    assert "image_tokens=" in outputs[2]
    assert "invalid_size" in outputs[4]
    assert outputs[-1].rstrip().endswith("succeeded")
