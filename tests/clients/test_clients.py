"""Clients of the tests' own environment against a real server. `make test-clients` runs all clients."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.running import BEGIN, END, OWN, PROGRAMS, Program, client_server, run_program
from tests.support.servers import ROOT, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    with client_server(tmp_path_factory.mktemp("clients")) as running:
        yield running


@pytest.mark.slow  # a server with the demo checkpoint, and three programs
@pytest.mark.parametrize("program", OWN, ids=lambda program: program.name)
def test_every_feature_of_a_client_works_or_is_refused(server: tuple[Server, Path], program: Program) -> None:
    results, errors = run_program(program, *server, python=sys.executable)
    assert results
    assert not [item for item in results if item.failed], errors


def test_the_table_has_every_feature_of_every_program() -> None:
    document = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    table = document.partition(BEGIN)[2].partition(END)[0]
    assert "fails" not in table
    rows = [row.split(" | ")[1] for row in table.strip().splitlines()[2:]]
    features = [feature for program in PROGRAMS for feature in _features(program)]
    assert rows == features, "run make test-clients"


def _features(program: Program) -> list[str]:
    text = program.path.read_text(encoding="utf-8")
    pattern = r'^ +(?:feature\()?"([^"]+)"(?:: |, J)'
    found = re.findall(pattern, text.rpartition("run(")[2], flags=re.MULTILINE)
    assert found, program.name
    return found
