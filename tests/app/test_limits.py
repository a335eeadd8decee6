"""What is refused before any work: long bodies, slow peers, endless headers, hostile pictures."""

import base64
import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from PIL import Image

from app.errors import ApiError, api_error_of
from app.uploads import ImagePool, Upload, decode_fully
from jobs.contract.errors import QueueFull, TenantQuotaExceeded
from tests.app.conftest import Running, running_api
from tests.app.worker import picture


def exchange(api: Running, sent: bytes) -> bytes:
    """Send the bytes and read until the server closes the connection."""
    received = b""
    with api.socket() as connection, suppress(ConnectionResetError):
        connection.sendall(sent)
        while piece := connection.recv(65536):
            received += piece
    return received


def error_of(received: bytes) -> dict[str, Any]:
    return json.loads(received.partition(b"\r\n\r\n")[2])["error"]


def head(*lines: str) -> bytes:
    first = ["POST /v1/text2image HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def strict(redis_url: str) -> Iterator[Running]:
    """An API with short timeouts."""
    with running_api(
        redis_url,
        body_idle_timeout_s=0.4,
        body_timeout_s=1.0,
        header_timeout_s=0.5,
        write_timeout_s=0.5,
        max_header_bytes=4096,
        max_headers=20,
        max_body_bytes=100_000,
        max_connections=20,
    ) as running:
        yield running


def test_a_body_that_announces_too_much_is_refused_before_it_is_read(strict: Running) -> None:
    received = exchange(strict, head("Content-Length: 100001", "Expect: 100-continue"))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert error_of(received.replace(b"\r\n0\r\n\r\n", b""))["code"] == "body_too_large"


def test_a_body_that_grows_too_long_is_refused_while_it_streams(strict: Running) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b" " * 10_000 for _ in range(50))

    with strict.client() as http:
        reply = http.post("/v1/text2image", content=pieces(), headers={"content-type": "application/json"})
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "body_too_large"
    assert "100000 bytes" in reply.json()["error"]["message"]


def test_a_client_that_sends_first_and_reads_later_still_sees_the_413(strict: Running) -> None:
    with strict.client() as http:
        reply = http.post("/v1/text2image", json={"prompt": "a" * 2_000_000})
    assert reply.status_code == 413


def test_a_sender_that_pauses_is_cut_off(strict: Running) -> None:
    started_s = time.monotonic()
    received = exchange(strict, head("Content-Length: 100") + b'{"prompt"')
    assert time.monotonic() - started_s < 3
    assert received.startswith(b"HTTP/1.1 408 ")
    assert error_of(received)["code"] == "body_timeout"


def test_a_sender_that_drips_is_cut_off_by_the_whole_time(strict: Running) -> None:
    started_s = time.monotonic()
    with strict.socket() as connection, pytest.raises(OSError):  # noqa: PT011, PT012
        connection.sendall(head("Content-Length: 1000"))
        while time.monotonic() - started_s < 5:
            connection.sendall(b" ")
            time.sleep(0.1)
    assert time.monotonic() - started_s < 3


def test_headers_that_never_end_are_cut_off(strict: Running) -> None:
    received = exchange(strict, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert error_of(received)["code"] == "header_timeout"


def test_a_connection_that_says_nothing_is_closed(strict: Running) -> None:
    assert exchange(strict, b"") == b""


@pytest.mark.parametrize(
    "lines", [b"X-Long: " + b"a" * 5000, b"\r\n".join(b"X-%d: a" % place for place in range(30))]
)
def test_too_many_headers_are_refused(strict: Running, lines: bytes) -> None:
    received = exchange(strict, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 431 ")
    assert error_of(received)["code"] == "headers_too_large"


def test_one_endless_header_is_refused(strict: Running) -> None:
    endless = b"GET /health/live HTTP/1.1\r\nX-Endless: " + b"a" * 40_000
    assert exchange(strict, endless).startswith(b"HTTP/1.1 431 ")


def test_what_is_no_http_gets_an_error_in_the_usual_shape(strict: Running) -> None:
    received = exchange(strict, b"\x16\x03\x01 not http\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert set(error_of(received)) == {"message", "type", "param", "code"}


def test_idle_connections_give_way_to_requests(strict: Running) -> None:
    held = [strict.socket() for _ in range(3 * strict.settings.max_connections)]
    with strict.client() as http:
        assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200
    for connection in held:
        connection.close()


def test_health_checks_find_room_beside_busy_connections(start_api: Any) -> None:
    with start_api(max_connections=4) as api, api.client() as http:
        held = [api.socket() for _ in range(4)]
        for connection in held:
            connection.sendall(head("Content-Length: 100"))
        time.sleep(0.2)
        assert http.get("/health/live").status_code == 200
        refused = http.post("/v1/text2text", json={"prompt": "раз"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_connections")
        for connection in held:
            connection.close()
        time.sleep(0.2)
        assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200


def test_an_address_keeps_its_latest_idle_connections(start_api: Any) -> None:
    with start_api(max_idle_connections_per_address=5) as api:
        held = [api.socket() for _ in range(8)]
        assert [connection.recv(1) for connection in held[:3]] == [b""] * 3
        held[3].sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert held[3].recv(15) == b"HTTP/1.1 200 OK"
        for connection in held:
            connection.close()


def test_a_reader_that_takes_nothing_is_cut_off(strict: Running) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with strict.socket() as connection, pytest.raises(OSError):  # noqa: PT011, PT012
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(2000):
            connection.sendall(request)
            time.sleep(0.002)
        time.sleep(1.5)
        connection.sendall(request)
        time.sleep(0.2)
        connection.sendall(request)


def test_the_server_lives_on_after_all_of_them(strict: Running) -> None:
    with strict.client() as http:
        assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and has no pixels."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + body, b"IDAT" + zlib.compress(b"\0" * 8), b"IEND"]
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def drawn(width: int, height: int, kind: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (width, height)).save(sink, kind, **options)
    return sink.getvalue()


def animated(kind: str) -> bytes:
    sink = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in (0, 255)]
    frames[0].save(sink, kind, save_all=True, append_images=frames[1:])
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "unsupported_picture_format", "PNG, JPEG or WebP"),
        (b"GIF89a" + bytes(100), "unsupported_picture_format", "PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_picture_format", "PNG"),
        (b"%PDF-1.7", "unsupported_picture_format", "PNG"),
        (drawn(15, 40), "picture_size", "between 16 and 8192"),
        (drawn(8193, 600), "picture_size", "8193×600"),
        (drawn(1700, 100), "picture_size", "16 times"),
        (png_header(6000, 6000), "picture_size", "25 megapixels"),
        (png_header(60_000, 60_000), "picture_size", "25 megapixels"),
        (png_header(200, 200), "invalid_picture", "damaged"),
        (drawn(64, 64)[:-30], "invalid_picture", "damaged"),
        (drawn(64, 64, "JPEG")[:300], "invalid_picture", "damaged"),
        (drawn(64, 64, "WEBP")[:40], "invalid_picture", "damaged"),
        (b"RIFF\x00\x00\x00\x00WEBP", "invalid_picture", "damaged"),
        (b"\xff\xd8\xff" + b"\xff\xda\0\2" * 200, "invalid_picture", "scans"),
        (animated("PNG"), "picture_animated", "one frame"),
        (animated("WEBP"), "picture_animated", "one frame"),
    ],
)
def test_a_hostile_picture_is_refused_by_its_rule(data: bytes, code: str, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_fully(data, "image")
    assert (caught.value.status, caught.value.code, caught.value.param) == (422, code, "image")
    assert words in caught.value.message


@pytest.mark.parametrize(("side", "kind"), [(16, "PNG"), (8192, "PNG"), (300, "JPEG"), (64, "WEBP")])
def test_pictures_at_the_edges_of_the_rules_are_taken(side: int, kind: str) -> None:
    height = 3000 if side == 8192 else side
    assert decode_fully(drawn(side, height, kind), "image") == side * height


async def test_all_pictures_of_a_request_share_one_limit_of_pixels() -> None:
    pool = ImagePool(threads=1, max_waiting=8, max_bytes=10**7)
    large = drawn(4900, 5000, "JPEG")
    with pytest.raises(ApiError, match="100 megapixels"):
        await pool.check([Upload(large, f"images[{place}]") for place in range(5)])
    pool.close()


async def test_a_flood_of_pictures_is_refused_and_not_queued() -> None:
    pool = ImagePool(threads=1, max_waiting=2, max_bytes=10**7)
    with pytest.raises(ApiError) as caught:
        await pool.check([Upload(picture(1), "image")] * 3)
    assert caught.value.status == 503
    assert len(await pool.check([Upload(picture(1), "image")] * 2)) == 2
    pool.close()


def test_a_picture_above_ten_megabytes_is_too_large(http: httpx.Client) -> None:
    data = picture(1) + bytes(10_000_001)
    reply = http.post("/v1/image2text", files={"image": ("a.png", data)})
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "picture_too_large"
    assert reply.json()["error"]["param"] == "image"


def test_a_picture_just_below_ten_megabytes_fits_as_base64(http: httpx.Client) -> None:
    data = picture(1) + bytes(9_990_000)
    reply = http.post("/v1/image2text", json={"image": base64.b64encode(data).decode()})
    assert reply.status_code == 200


def test_a_full_queue_answers_503_with_a_time_before_the_picture_is_read(start_api: Any) -> None:
    with start_api(max_queue_depth=2) as api, api.client() as http:
        assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200
        api.worker.close()
        body = {"task": "text2image", "input": {"prompt": "кот"}}
        statuses = [http.post("/v1/jobs", json=body).status_code for _ in range(3)]
        assert 503 in statuses
        for headers in ({}, {"Idempotency-Key": "new"}):
            reply = http.post("/v1/image2text", json={"image": "не картинка"}, headers=headers)
            assert reply.status_code == 503
        error = reply.json()["error"]
        assert error["code"] == "queue_full"
        assert error["type"] == "server_error"
        assert 1 <= int(reply.headers["retry-after"]) <= 120


def test_a_tenant_at_its_limit_gets_429(start_api: Any) -> None:
    with start_api(tenant_max_jobs=1) as api, api.client() as http:
        body = {"task": "text2image", "input": {"prompt": "жди"}}
        assert http.post("/v1/jobs", json=body).status_code == 202
        reply = http.post("/v1/jobs", json=body)
        assert reply.status_code == 429
        assert reply.json()["error"]["code"] == "tenant_quota_exceeded"
        assert reply.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(reply.headers["retry-after"]) <= 120


@pytest.mark.parametrize("kind", [QueueFull, TenantQuotaExceeded])
def test_retry_after_is_whole_seconds_between_1_and_120(kind: Any) -> None:
    assert api_error_of(kind("полно", 100_000)).headers["Retry-After"] == "120"
    assert api_error_of(kind("полно", 0)).headers["Retry-After"] == "1"
