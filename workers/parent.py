"""Ties a worker's life to its supervisor's, by a pipe that closes however the supervisor ends."""

import os
import signal
import threading
import time

from workers import exit_codes


def leave_with_parent(grace_s: float) -> None:
    """When standard input closes: SIGTERM to this process (a drain), and its end after `grace_s`."""

    def watch() -> None:
        # Not through sys.stdin: a reader blocked in its buffer is fatal when the interpreter ends.
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os._exit(exit_codes.HUNG)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
