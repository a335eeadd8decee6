"""`python -m scripts.walk IMAGE`: the first minutes of a new user, with the commands of the README only.

Clones this repository into an empty folder, runs `make serve`, the first curl command, and the caption
command with an image of the user. Prints the seconds since the start after each step. The time of the
installation depends on the network and on the cache of pip.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from scripts.pages.blocks import Block, blocks
from scripts.pages.running import ADDRESS

ROOT = Path(__file__).resolve().parents[1]
INSTALL_TIMEOUT_S = 900.0
CLONE_URL = "<this repository>"
IMAGE_NAME = "picture.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, help="an image of your own")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps = walk(Path(folder), arguments.image.resolve(), arguments.port)
    print(json.dumps(steps, ensure_ascii=False, indent=2))


def walk(folder: Path, image: Path, port: int) -> dict[str, float | str]:
    """Return the seconds until each step ended, and the caption. Raises RuntimeError for a failed step."""
    readme = list(blocks((ROOT / "README.md").read_text(encoding="utf-8")))
    clone_line, serve_line = _block(readme, "git clone").code.splitlines()
    began_s = time.monotonic()
    steps: dict[str, float | str] = {}

    def passed(step: str) -> None:
        steps[step] = round(time.monotonic() - began_s, 1)

    _shell(clone_line.replace(CLONE_URL, str(ROOT)), folder)
    passed("cloned")
    clone = folder / "rudolph"
    server = _start(f"{serve_line} PORT={port}", clone)
    try:
        _wait(server, clone / "walk.log")
        passed("installed_and_ready")
        address = f"http://127.0.0.1:{port}"
        _shell(_block(readme, "-o picture.png").code.replace(ADDRESS, address), clone)
        passed("drawn")
        caption = _block(readme, "/v1/image2text").code.replace(ADDRESS, address)
        reply = _shell(caption.replace(f"@{IMAGE_NAME}", f"@{image}"), clone)
        passed("captioned")
        steps["caption"] = json.loads(reply)["texts"][0]["text"]
    finally:
        with contextlib.suppress(ProcessLookupError):  # it may have ended with an error
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    return steps


def _block(readme: list[Block], words: str) -> Block:
    return next(block for block in readme if words in block.code)


def _shell(line: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-ec", line], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{line}\n{done.stdout}{done.stderr}")
    return done.stdout


def _start(line: str, clone: Path) -> subprocess.Popen[bytes]:
    with (clone / "walk.log").open("wb") as log:
        command = ["bash", "-ec", line]
        return subprocess.Popen(
            command, cwd=clone, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _wait(server: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + INSTALL_TIMEOUT_S
    while not re.search(r"RuDOLPH is ready", log.read_text(encoding="utf-8", errors="replace")):
        if server.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(log.read_text(encoding="utf-8", errors="replace")[-2000:])
        time.sleep(0.2)


if __name__ == "__main__":
    main()
