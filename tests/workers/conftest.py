"""A session over the small second-generation network."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.rudolph import Rudolph
from tests.support.sessions import small_rudolph
from workers.engine.settings import EngineSettings
from workers.session import Session


@pytest.fixture(scope="module")
def rudolph(tiny_v2: Path) -> Rudolph:
    return small_rudolph(tiny_v2, tasks=frozenset({"answer"}))


@pytest.fixture(scope="module")
def picture(tiny_v2: Path) -> bytes:
    return (tiny_v2 / "picture0.png").read_bytes()


@pytest.fixture
def session(rudolph: Rudolph) -> Iterator[Session]:
    session = Session(rudolph, EngineSettings(6, 100))
    yield session
    session.close()
