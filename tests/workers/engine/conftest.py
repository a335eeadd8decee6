"""Engines on the small networks of both generations."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.rudolph import Rudolph
from tests.support.sessions import small_rudolph
from tests.workers.engine.works import engine_of
from workers.engine.engine import Engine


@pytest.fixture(scope="module", params=[1, 2], ids=["v1", "v2"])
def rudolph(request: pytest.FixtureRequest, tiny_v1: Path, tiny_v2: Path) -> Rudolph:
    return small_rudolph(tiny_v1 if request.param == 1 else tiny_v2)


@pytest.fixture
def engine(rudolph: Rudolph) -> Iterator[Engine]:
    engine = engine_of(rudolph)
    yield engine
    engine.close()
