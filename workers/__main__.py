"""`python -m workers`: one worker process, set up by RUDOLPH_* variables."""

import os
import sys
from pathlib import Path


def main() -> int:
    if sys.path[0] == os.getcwd() != str(Path(__file__).resolve().parents[1]):
        # `python -m` adds the current folder, from which nothing must be imported.
        del sys.path[0]
    from workers.process import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
