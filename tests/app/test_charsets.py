"""Text of a body is UTF-8 or refused. No other codec is reached by any name that a client sends."""

import encodings
import random
import string
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.app.refusals import PICTURE, refused
from tests.app.worker import picture

IMAGE = picture(1)
CODECS = [
    "windows-1251", "latin-1", "us-ascii", "utf-16", "utf-7", "utf-8-sig", "unicode_escape", "punycode",
    "idna", "zip", "bz2", "base64", "rot13", "undefined", "mbcs", "no-such-charset", "", "utf_8 ", "\u2603",
]  # fmt: skip
CLASSES = ["кошка", "автомобиль"]


def part(name: str, value: bytes, *, headers: str = "", options: str = "") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"{options}\r\n{headers}\r\n'
    return b"--B\r\n" + disposition.encode() + value + b"\r\n"


def post(http: httpx.Client, *parts: bytes, parameters: bytes = b"") -> httpx.Response:
    body = b"".join(parts) + b"--B--\r\n"
    headers = {"content-type": b"multipart/form-data; boundary=B" + parameters}
    return http.post("/v1/classify", content=body, headers=headers)


def classes(encoding: str = "utf-8", headers: str = "") -> list[bytes]:
    return [part("classes", name.encode(encoding), headers=headers) for name in CLASSES]


def image(options: str = '; filename="a.png"', headers: str = "") -> bytes:
    return part("image", IMAGE, options=options, headers=headers)


def read_rightly(reply: httpx.Response) -> bool:
    assert reply.status_code == 200, reply.text
    return [score["class"] for score in reply.json()["scores"]] == CLASSES


@pytest.mark.parametrize(
    "parameters", ["", "; charset=utf-8", "; charset=UTF-8", '; charset="utf8"', ";CharSet=Utf8"]
)
def test_utf_8_is_read_by_any_of_its_names(http: httpx.Client, parameters: str) -> None:
    assert read_rightly(post(http, *classes(), image(), parameters=parameters.encode()))
    headers = f"Content-Type: text/plain{parameters}\r\n"
    assert read_rightly(post(http, *classes(headers=headers), image()))


@pytest.mark.parametrize("charset", CODECS)
def test_any_other_charset_of_a_form_is_refused(http: httpx.Client, charset: str) -> None:
    reply = post(http, *classes(), image(), parameters=f'; charset="{charset}"'.encode())
    error = refused(reply, 415, "unsupported_charset", "Content-Type", "charset=utf-8")
    if charset.isascii():
        assert repr(charset) in error["message"]


@pytest.mark.parametrize("charset", CODECS)
def test_any_other_charset_of_json_is_refused(http: httpx.Client, charset: str) -> None:
    headers = {"content-type": f'application/json; charset="{charset}"'.encode()}
    reply = http.post("/v1/text2text", content='{"prompt": "а"}'.encode(), headers=headers)
    refused(reply, 415, "unsupported_charset", "Content-Type")


@pytest.mark.parametrize("charset", CODECS)
def test_any_other_charset_of_a_part_is_refused(http: httpx.Client, charset: str) -> None:
    headers = f'Content-Type: text/plain; charset="{charset}"\r\n'
    refused(post(http, *classes(headers=headers), image()), 415, "unsupported_charset", "classes")
    whole = part("request", b'{"classes": ["a", "b"]}', options='; filename="r.json"', headers=headers)
    refused(post(http, whole, image()), 415, "unsupported_charset", "request")


@pytest.mark.parametrize("charset", CODECS)
def test_any_other_charset_field_of_a_browser_is_refused(http: httpx.Client, charset: str) -> None:
    for parts in (
        [part("_charset_", charset.encode()), *classes()],
        [*classes(), part("_charset_", charset.encode())],
    ):
        refused(post(http, *parts, image()), 415, "unsupported_charset", "_charset_")


def test_the_charset_field_of_a_browser_is_no_field_of_the_task(http: httpx.Client) -> None:
    assert read_rightly(post(http, part("_charset_", b"UTF-8"), *classes(), image()))


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "utf-16"])
def test_text_that_is_not_utf_8_is_refused_by_the_field_s_name(http: httpx.Client, encoding: str) -> None:
    refused(
        post(http, *classes(encoding), image()), 400, "invalid_multipart", "classes", "not UTF-8", "byte 0"
    )


def test_names_that_are_not_utf_8_are_refused(http: httpx.Client) -> None:
    options = b'; filename="\xea\xee\xf2.png"'.decode("latin-1")
    body = image(options).decode("latin-1").encode("latin-1")
    body = body.replace(options.encode(), options.encode("latin-1"))
    refused(post(http, *classes(), body), 400, "invalid_multipart", "image", "file name", "not UTF-8")
    field = part("imagX", IMAGE).replace(b"imagX", b"imag\xff")
    refused(post(http, *classes(), field), 400, "invalid_multipart", "imag\\xff", "field name")


@pytest.mark.parametrize("charset", ["utf-8", "utf-7", "punycode", "no-such-charset"])
@pytest.mark.parametrize(
    "form", ["; filename*={}''%D0%BA.png", "; filename=\"a.png\"; filename*={}''x", "; filename*0*={}''x"]
)
def test_an_extended_file_name_makes_a_file_and_is_not_decoded(
    http: httpx.Client, form: str, charset: str
) -> None:
    cached = set(encodings._cache)  # type: ignore[attr-defined]
    assert read_rightly(post(http, *classes(), image(form.format(charset))))
    assert set(encodings._cache) == cached  # type: ignore[attr-defined]


def test_the_type_of_an_image_may_have_any_parameters(http: httpx.Client) -> None:
    assert read_rightly(post(http, *classes(), image(headers="Content-Type: image/png; charset=binary\r\n")))


@pytest.mark.parametrize(
    "boundary",
    [b"", b"; boundary=", b"; boundary=" + b"x" * 300, b"; boundary=\xff", b'; boundary="', b";;;"],
)
def test_an_odd_boundary_is_refused(http: httpx.Client, boundary: bytes) -> None:
    body = part("classes", b"a") + b"--B--\r\n"
    reply = http.post(
        "/v1/classify", content=body, headers={"content-type": b"multipart/form-data" + boundary}
    )
    refused(reply, 400, "invalid_multipart", None)


def test_two_content_types_are_refused(http: httpx.Client) -> None:
    headers = [("content-type", "application/json"), ("content-type", "application/json; charset=utf-7")]
    reply = http.post("/v1/text2text", content=b'{"prompt": "a"}', headers=headers)
    refused(reply, 415, "unsupported_media_type", "Content-Type")


@pytest.mark.parametrize("filler", ["; ", ';"', "; a=b"])
def test_headers_with_many_parameters_are_refused(http: httpx.Client, filler: str) -> None:
    many = (filler * 800).rstrip()
    headers = {"content-type": f"multipart/form-data; boundary=B{many}"}
    started_s = time.process_time()
    reply = http.post("/v1/classify", content=image() + b"--B--\r\n", headers=headers)
    refused(reply, 400, "invalid_header", "Content-Type", "32 parameters")
    refused(post(http, *classes(), image(options=many)), 400, "invalid_header", None)
    refused(
        post(http, *classes(headers=f"Content-Type: text/plain{many}\r\n"), image()),
        400,
        "invalid_header",
        "classes",
    )
    assert time.process_time() - started_s < 1


def test_a_file_name_may_hold_semicolons(http: httpx.Client) -> None:
    assert read_rightly(post(http, *classes(), image(f'; filename="{";" * 20}.png"')))


def test_names_of_charsets_are_not_kept(http: httpx.Client) -> None:
    cached = set(encodings._cache)  # type: ignore[attr-defined]
    draw = random.Random(3)
    for _ in range(200):
        name = "".join(draw.choices(string.ascii_lowercase, k=12))
        headers = f"Content-Type: text/plain; charset={name}\r\n"
        for reply in (
            post(http, *classes(), image(), parameters=f"; charset={name}".encode()),
            post(http, *classes(headers=headers), image()),
            http.post(
                "/v1/text2text", content=b"{}", headers={"content-type": f"application/json; charset={name}"}
            ),
        ):
            assert reply.status_code == 415
    assert set(encodings._cache) == cached  # type: ignore[attr-defined]


def test_no_charset_stalls_the_event_loop(http: httpx.Client) -> None:
    """Punycode needs time in the square of the text: 38 s for this one."""
    big = part("prompt", b"a" * (1 << 20))
    assert min(_slowest_probe_s(http, big) for _ in range(3)) < 0.1


def _slowest_probe_s(http: httpx.Client, big: bytes) -> float:
    """Of the health probes while such forms are read, sent one after the other."""
    stop = threading.Event()

    def send() -> None:
        for charset in ("punycode", "idna", "unicode_escape", "utf-7", "utf-8"):
            headers = f"Content-Type: text/plain; charset={charset}\r\n"
            named = post(http, big, image(), parameters=f"; charset={charset}".encode())
            of_a_part = post(http, big.replace(b"\r\n\r\n", b"\r\n" + headers.encode() + b"\r\n", 1), image())
            assert {named.status_code, of_a_part.status_code} <= {415, 422}
        stop.set()

    slowest_s = 0.0
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        while not stop.is_set() and not sending.done():
            started_s = time.perf_counter()
            assert http.get("/health/live").status_code == 200
            slowest_s = max(slowest_s, time.perf_counter() - started_s)
        sending.result()
    return slowest_s


def test_a_picture_as_text_still_counts(http: httpx.Client) -> None:
    assert read_rightly(post(http, *classes(), part("image", PICTURE.encode())))
