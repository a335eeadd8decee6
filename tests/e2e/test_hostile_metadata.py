"""Images whose metadata are costly to read cost the server no more than plain ones, with a real worker."""

import time

import httpx
import pytest

from tests.support.hostile_exif import hostile_files, plain_files
from tests.support.servers import Server

NUM_IMAGES = 60
LARGEST = 16_000_000 // NUM_IMAGES
NAMES = [name for name, data in hostile_files().items() if len(data) < LARGEST]


@pytest.fixture(scope="module")
def plain_s(server_v2: Server) -> float:
    """Seconds of a request with 60 plain images: the slowest of three, since other programs run beside."""
    plain = plain_files()["PNG"]
    rank(server_v2.client, plain)
    return max(rank(server_v2.client, plain) for _ in range(3))


def rank(http: httpx.Client, image: bytes) -> float:
    files = [("images", ("a", image))] * NUM_IMAGES
    started_s = time.perf_counter()
    reply = http.post("/v1/rank/images", data={"text": "кошка"}, files=files)
    assert reply.status_code == 200, reply.text
    assert len(reply.json()["ranking"]) == NUM_IMAGES
    return time.perf_counter() - started_s


@pytest.mark.parametrize("name", NAMES)
def test_sixty_of_them_take_no_second_longer(server_v2: Server, plain_s: float, name: str) -> None:
    data = hostile_files()[name]
    assert any(rank(server_v2.client, data) - plain_s < 1 for _ in range(3))
