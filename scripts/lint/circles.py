"""Files that import each other, directly or through others; imports for types count too."""

from collections.abc import Iterator
from pathlib import Path

import grimp

from scripts.lint.findings import Finding

PACKAGES = ("app", "bench", "cli", "examples", "images", "jobs", "model", "telemetry", "training", "workers")


def check_circles(root: Path) -> Iterator[Finding]:
    """Yield a finding for every circle, in the file of its first module by name."""
    packages = [name for name in PACKAGES if (root / name / "__init__.py").is_file()]
    graph = grimp.build_graph(*packages, cache_dir=None)
    seen: set[frozenset[str]] = set()
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            if imported == importer:  # a package that names itself
                continue
            chain = graph.find_shortest_chain(imported, importer)
            if chain is None or frozenset(chain) in seen:
                continue
            seen.add(frozenset(chain))
            details = graph.get_import_details(importer=importer, imported=imported)
            line = details[0]["line_number"] if details else 1
            yield Finding(
                _file(root, importer), line, "a circle of imports: " + " → ".join((importer, *chain))
            )


def _file(root: Path, module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (root / path).is_dir() else f"{path}.py"
