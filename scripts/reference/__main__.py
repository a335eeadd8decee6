"""`python -m scripts.reference [--check]`: write the generated references, or fail if one is stale."""

import sys
from pathlib import Path

from scripts.reference import commands, configuration, decisions, fields, quality

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    pages = {
        ROOT / "docs/configuration.md": configuration.render(),
        ROOT / "docs/cli.md": commands.render(ROOT),
        ROOT / "docs/adr/README.md": decisions.render(ROOT),
        ROOT / "docs/quality.md": quality.render(ROOT),
    }
    pages |= {page: fields.render(page) for page in (ROOT / "docs/tasks").glob("*.md")}
    stale = [path for path, text in pages.items() if _content(path) != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale; run `make reference`\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
    return 0


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
