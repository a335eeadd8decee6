"""Every picture of the hostile corpus on every route that takes one, against a real server with a worker."""

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest

from tests.fuzz.corpus import corpus
from tests.fuzz.picture_routes import GOOD, GOOD_TEXT, PLACES, Place
from tests.support.hostile_files import ACCEPTED, Hostile
from tests.support.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MAX_GROWTH_BYTES = 600_000_000
"""Two decoding threads with the largest picture allowed, 100 MB each and copies, and bodies on their way."""
NUM_CLIENTS = 3
PADDED = base64.b64encode(GOOD + bytes((1 - len(GOOD)) % 3)).decode()
"""Ends with two signs of padding. Decoders ignore what follows the image."""
LARGE_BYTES = 500_000


@pytest.fixture(scope="module")
def pictures() -> list[Hostile]:
    return corpus()


@pytest.fixture(scope="module")
def first_rss(api_process: psutil.Process) -> int:
    return api_process.memory_info().rss


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def fault_of(reply: httpx.Response, place: Place, expected: str | None) -> str | None:
    """What is wrong with an answer; None when it is as it should be."""
    if expected is ACCEPTED:
        return None if reply.status_code in (200, 202) else f"{reply.status_code} {reply.text[:200]}"
    status = 413 if expected == "picture_too_large" else place.refusal
    error = reply.json()["error"]
    found = (reply.status_code, error["code"], error["param"])
    if found != (status, expected, place.param):
        return f"{found} {error['message']}"
    if not error["message"].startswith(place.param) and "images of this request" not in error["message"]:
        return f"the message does not name the field: {error['message']}"
    return None


def belongs(case: Hostile, number: int, place: Place) -> bool:
    """All on the first place. On the others: what is cheap to refuse, and every sixth of what costs work."""
    if place is PLACES[0]:
        return True
    if case.heavy or len(case.data) > LARGE_BYTES:
        return False
    if case.code is ACCEPTED:
        return place.takes_any and number % 6 == PLACES.index(place) % 6
    return True


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_each_is_answered_as_it_deserves(
    http: httpx.Client, place: Place, pictures: list[Hostile], first_rss: int
) -> None:
    chosen = [case for number, case in enumerate(pictures) if belongs(case, number, place)]

    def ask(case: Hostile) -> str | None:
        fault = fault_of(place.send(http, case.data), place, case.code)
        return f"{case.name}: {fault}" if fault else None

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        faults = [fault for fault in pool.map(ask, chosen) if fault]
    assert not faults, "\n".join(faults)
    assert len(chosen) > 80


@pytest.mark.parametrize(
    ("file_name", "kind"),
    [
        ("picture.jpg", "image/jpeg"),
        ("picture.exe", "application/x-msdownload"),
        ("picture.svg", "image/svg+xml"),
        ("../../etc/passwd", "text/html"),
        ("картинка.png", "image/gif"),
        ("a" * 200, "nonsense"),
    ],
)
def test_what_a_file_is_called_decides_nothing(http: httpx.Client, file_name: str, kind: str) -> None:
    reply = PLACES[1].send(http, GOOD, file_name=file_name, kind=kind)
    assert reply.status_code == 200, reply.text
    refused = PLACES[1].send(http, b"<svg/>", file_name="picture.png", kind="image/png")
    assert refused.json()["error"]["code"] == "unsupported_picture_format"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("data:image/png;base64," + GOOD_TEXT, ACCEPTED),
        ("data:image/jpeg;base64," + GOOD_TEXT, ACCEPTED),
        ("data:;base64," + GOOD_TEXT, ACCEPTED),
        ("  DATA:image/png;charset=x;BASE64," + GOOD_TEXT, ACCEPTED),
        ("\n" + GOOD_TEXT + "\n", ACCEPTED),
        ("data:image/png," + GOOD_TEXT, "invalid_picture"),
        ("data:image/png;base64", "invalid_picture"),
        ("data:image/png;base64,", "unsupported_picture_format"),
        ("data:" + "a" * 5000 + ";base64," + GOOD_TEXT, "invalid_picture"),
        ("data:image/png;base64,data:image/png;base64," + GOOD_TEXT, "invalid_picture"),
        (GOOD_TEXT[:-3], "invalid_picture"),
        (GOOD_TEXT[:50] + "\n" + GOOD_TEXT[50:], ACCEPTED),
        (base64.encodebytes(GOOD).decode(), ACCEPTED),
        ("data:image/png;base64," + base64.encodebytes(GOOD).decode().replace("\n", "\r\n\t"), ACCEPTED),
        (PADDED.rstrip("="), ACCEPTED),
        (PADDED.replace("=", ""), ACCEPTED),
        (PADDED + "==", ACCEPTED),
        (base64.urlsafe_b64encode(GOOD).decode(), ACCEPTED),
        ("data:image/png;base64," + quote(PADDED), ACCEPTED),
        (PADDED[:-3], "invalid_picture"),
        (GOOD_TEXT[:9] + "\u00a0" + GOOD_TEXT[9:], "invalid_picture"),
        (GOOD_TEXT[:50] + "=" + GOOD_TEXT[50:], "invalid_picture"),
        (
            base64.b64encode(b"\xfb\xff" + GOOD).decode().replace("+", "-").replace("/", "_"),
            "unsupported_picture_format",
        ),
        (base64.b64encode(GOOD_TEXT.encode()).decode(), "unsupported_picture_format"),
        ("картинка", "invalid_picture"),
        ("%89PNG", "invalid_picture"),
        ("", "unsupported_picture_format"),
        ("http://127.0.0.1:1/a.png", "picture_url_refused"),
        (" HTTPS://example.org/a.png", "picture_url_refused"),
        ("file:///etc/passwd", "picture_url_refused"),
        ("//example.org/a.png", "picture_url_refused"),
        ("ftp://example.org/a.png", "picture_url_refused"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "invalid_picture"),
    ],
)
@pytest.mark.parametrize("place", [place for place in PLACES if place.name in ("image2text", "openai-chat")])
def test_text_that_should_be_a_picture(http: httpx.Client, place: Place, text: str, code: str | None) -> None:
    assert fault_of(place.send(http, text), place, code) is None


def test_the_server_has_lived_through_it_in_bounded_memory(
    server: Server, api_process: psutil.Process, first_rss: int
) -> None:
    """Runs last in this file: what the process kept, and what it held at the worst moment."""
    status = Path(f"/proc/{api_process.pid}/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    kept = api_process.memory_info().rss
    print(f"API process: {first_rss / 1e6:.0f} MB before, {peak / 1e6:.0f} at most, {kept / 1e6:.0f} after")
    assert peak - first_rss < MAX_GROWTH_BYTES
    assert kept - first_rss < MAX_GROWTH_BYTES / 2
    assert '"event": "unhandled"' not in server.text
    assert "worker_ended" not in server.text
    deadline_s = time.monotonic() + 10
    while server.client.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline_s
