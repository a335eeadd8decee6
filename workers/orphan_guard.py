"""Ends a worker when its supervisor ends. The kernel then closes a pipe that the worker reads."""

import os
import signal
import threading
import time

from workers import exit_codes


def exit_when_parent_dies(grace_s: float) -> None:
    """Drain this process by SIGTERM when its standard input closes, and end it after `grace_s`."""

    def watch() -> None:
        # Not sys.stdin: a thread that is blocked in its buffer crashes the interpreter at exit.
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os._exit(exit_codes.HUNG)

    threading.Thread(target=watch, name="orphan-guard", daemon=True).start()
