"""A server with the demo checkpoint on a free port."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "checkpoints" / "demo"
START_TIMEOUT_S = 120.0
_READY = re.compile(r"RuDOLPH is ready on (http://\S+)")


@contextmanager
def serving(folder: Path) -> Generator[str]:
    """The URL of a server that keeps its data and its log in `folder`, until the block ends."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "cli", "serve", "--model", str(DEMO), "--port", "0"]
    command += ["--dtype", "float32", "--device", "cpu", "--data-dir", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUDOLPH_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    try:
        yield _wait_until_ready(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while (ready := _READY.search(log.read_text(encoding="utf-8", errors="replace"))) is None:
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(f"The server did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")
        time.sleep(0.1)
    return ready[1]
