"""`make test-clients`: every client against one server; writes the table of docs/clients.md.

python -m tests.clients [--only NAME …]

With --only, or without Node, the table is not written: it would lack rows.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.clients.running import PROGRAMS, Result, client_server, run_program, write_table
from tests.support.servers import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test-clients", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[], help="programs whose name contains one of these words"
    )
    only = parser.parse_args().only
    chosen = [one for one in PROGRAMS if not only or any(word in one.name for word in only)]
    results: list[Result] = []
    left_out = {one.name: one.missing for one in chosen if one.missing}
    with tempfile.TemporaryDirectory() as folder, client_server(Path(folder)) as (server, image):
        for program in chosen:
            if program.missing:
                continue
            found, errors = run_program(program, server, image)
            for item in found:
                print(f"{'FAILED' if item.failed else 'ok':6} {item.client}: {item.feature}: {item.result}")
            if any(item.failed for item in found):
                sys.stderr.write(errors)
            results += found
    for name, reason in left_out.items():
        sys.stderr.write(f"LEFT OUT: {name}: {reason}.\n")
    num_failed = sum(item.failed for item in results)
    if not only and not left_out:
        write_table(ROOT / "docs" / "clients.md", results)
    print(f"{len(results) - num_failed} passed, {num_failed} failed, {len(left_out)} skipped")
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
