"""docs/cli.md: every command and option of `rudolph`, as typer describes them."""

import subprocess
import sys
from pathlib import Path

HEAD = """# Command line

<!-- Generated from cli/ by `make reference`. -->

Results go to standard output, everything else to standard error.

| exit code | meaning |
| ---: | --- |
| 0 | done |
| 1 | failed; the last line says why |
| 2 | a wrong option or argument |
| 70 | an unexpected error, which is a bug |
| 78 | a wrong setting; a restart does not help |
| 130 | stopped by Ctrl-C |

"""


def render(root: Path) -> str:
    """Return the page as Markdown."""
    found = subprocess.run(
        [sys.executable, "-m", "typer", "cli.main", "utils", "docs", "--name", "rudolph"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    _, _, commands = found.stdout.partition("# `rudolph`\n")
    return HEAD + commands.strip() + "\n"
