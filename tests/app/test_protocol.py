"""HTTP as generic clients expect it: HEAD, OPTIONS, encodings, HTTP/1.0, health, a server below a path."""

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.app.conftest import Running


def test_every_get_route_has_head(http: httpx.Client) -> None:
    seen = 0
    job = http.post("/v1/jobs", json={"task": "text2text", "input": {"prompt": "кот"}}).json()["id"]
    pages = {"/": {"get": {}}, "/docs": {"get": {}}, "/openapi.json": {"get": {}}}
    for path, methods in {**http.get("/openapi.json").json()["paths"], **pages}.items():
        if "get" not in methods or path.endswith("/events"):
            continue
        address = path.replace("{id}", "tiny" if "models" in path else job)
        seen += 1
        got, head = http.get(address), http.head(address)
        assert (head.status_code, head.content) == (got.status_code, b""), address
        assert head.headers["content-type"] == got.headers["content-type"]
    assert seen >= 10


def test_head_of_an_endless_stream_ends(http: httpx.Client, api: Running) -> None:
    job = http.post("/v1/jobs", json={"task": "text2text", "input": {"prompt": "жди"}}).json()["id"]
    head = http.head(f"/v1/jobs/{job}/events")
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")
    assert head.content == b""
    assert http.get(f"/v1/jobs/{job}").json()["state"] in ("queued", "running")
    http.delete(f"/v1/jobs/{job}")
    assert not api.services.streams._open


def test_head_of_what_is_not_there(http: httpx.Client) -> None:
    assert http.head("/v1/nothing").status_code == 404
    assert http.head("/v1/jobs/job_x").status_code == 404
    assert http.head("/v1/text2image").status_code == 405


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/text2image", "OPTIONS, POST"),
        ("/v1/jobs/job_x", "DELETE, GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_names_the_methods(http: httpx.Client, path: str, allow: str) -> None:
    reply = http.options(path)
    assert reply.status_code == 204
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity"])
@pytest.mark.parametrize("path", ["/v1/text2text", "/v1/completions", "/v1/jobs"])
def test_a_compressed_body_is_refused_with_what_is_accepted(
    http: httpx.Client, path: str, encoding: str
) -> None:
    body = gzip.compress(json.dumps({"prompt": "кот"}).encode())
    headers = {"content-type": "application/json", "content-encoding": encoding}
    reply = http.post(path, content=body, headers=headers)
    assert reply.status_code == 415
    assert reply.headers["accept-encoding"] == "identity"
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_encoding", "Content-Encoding")


def test_an_identity_encoding_is_no_encoding(http: httpx.Client) -> None:
    headers = {"content-encoding": "Identity"}
    assert http.post("/v1/text2text", json={"prompt": "кот"}, headers=headers).is_success


def raw(api: Running, head: str, body: bytes = b"") -> tuple[str, bytes]:
    """Send a request as it is; return the head and the body of the response, read to the end."""
    with api.socket() as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        received = b""
        while data := connection.recv(65536):
            received += data
    answer, _, rest = received.partition(b"\r\n\r\n")
    return answer.decode().lower(), rest


@pytest.mark.parametrize("keep", ["", "Connection: keep-alive\n"])
def test_a_stream_over_http_1_0_ends_with_the_connection(api: Running, keep: str) -> None:
    body = json.dumps({"prompt": "кот", "stream": True}).encode()
    head = f"POST /v1/text2text HTTP/1.0\nHost: localhost\n{keep}Content-Type: application/json\n"
    answer, rest = raw(api, head + f"Content-Length: {len(body)}\n", body)
    assert " 200 " in answer.splitlines()[0]
    assert "transfer-encoding" not in answer
    assert "connection: keep-alive" not in answer
    assert answer.count("connection: close") == 1
    assert b"event: completed" in rest
    assert not rest[:1].isdigit()
    assert rest.endswith(b"\n\n")


def test_a_reply_over_http_1_0_is_whole(api: Running) -> None:
    for path in ("/version", "/docs", "/v1/models"):
        answer, rest = raw(api, f"GET {path} HTTP/1.0\nHost: localhost\n")
        assert f"content-length: {len(rest)}" in answer
        head, nothing = raw(api, f"HEAD {path} HTTP/1.0\nHost: localhost\n")
        assert " 200 " in head.splitlines()[0]
        assert nothing == b""


def test_a_stream_over_http_1_1_is_chunked(api: Running) -> None:
    body = json.dumps({"prompt": "кот", "stream": True}).encode()
    head = "POST /v1/text2text HTTP/1.1\nHost: localhost\nConnection: close\nContent-Type: application/json\n"
    answer, rest = raw(api, head + f"Content-Length: {len(body)}\n", body)
    assert "transfer-encoding: chunked" in answer
    assert answer.count("connection:") == 1
    assert rest.endswith(b"0\r\n\r\n")


def test_health_and_version_are_where_other_servers_have_them(http: httpx.Client, start_api: Any) -> None:
    assert http.get("/health").json()["status"] == "ready"
    assert set(http.get("/version").json()) == {"version"}
    with start_api(worker=False, api_keys=f"anna={'k' * 32}") as api, api.client() as client:
        assert client.get("/health").status_code == 503
        assert client.head("/health").status_code == 503
        assert client.get("/healthy").status_code == 401
        assert client.get("/version").status_code == 401


def local_addresses(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.replace('src="', 'href="').split('href="')[1:]]


@pytest.mark.parametrize(
    ("settings", "headers", "removed"),
    [
        ({"root_path": "/rudolph"}, {}, True),
        ({"root_path": "/rudolph"}, {}, False),
        ({}, {"X-Forwarded-Prefix": "/rudolph"}, True),
        ({}, {"X-Forwarded-Prefix": "/rudolph/"}, False),
        ({"root_path": "/other"}, {"X-Forwarded-Prefix": "/rudolph"}, True),
    ],
)
def test_a_server_below_a_path(
    start_api: Any, settings: dict[str, str], headers: dict[str, str], removed: bool
) -> None:
    before = "" if removed else "/rudolph"
    with start_api(**settings) as api, api.client(headers=headers) as http:
        job = {"task": "text2text", "input": {"prompt": "кот"}}
        accepted = http.post(f"{before}/v1/jobs", json=job)
        assert accepted.status_code == 202
        assert accepted.headers["location"] == f"/rudolph/v1/jobs/{accepted.json()['id']}"
        document = http.get(f"{before}/openapi.json").json()
        assert document["servers"] == [{"url": f"{api.url}/rudolph"}]
        for page in ("/", "/docs"):
            text = http.get(before + page).text
            assert local_addresses(text)
            assert not any(address.startswith("/") for address in local_addresses(text))
        assert http.get(f"{before}/health/live").is_success


def test_a_prefix_of_a_peer_that_is_not_trusted_is_ignored(start_api: Any) -> None:
    with start_api(forwarded_allow_ips="192.0.2.1") as api:
        headers = {"X-Forwarded-Prefix": "/evil"}
        with api.client(headers=headers) as http:
            accepted = http.post("/v1/jobs", json={"task": "text2text", "input": {"prompt": "кот"}})
            assert accepted.headers["location"].startswith("/v1/jobs/")


@pytest.mark.parametrize("prefix", ["//evil.example", "/a b", '/a"><script>', "evil", "/../x/%2e"])
def test_a_prefix_that_is_no_path_is_ignored(http: httpx.Client, prefix: str) -> None:
    job = {"task": "text2text", "input": {"prompt": "кот"}}
    accepted = http.post("/v1/jobs", json=job, headers={"X-Forwarded-Prefix": prefix})
    assert accepted.headers["location"].startswith("/v1/jobs/")


def test_a_path_that_only_begins_like_the_prefix_is_another(start_api: Any) -> None:
    with start_api(root_path="/v1") as api, api.client() as http:
        assert http.get("/v1/v1/models").is_success
        assert http.get("/v1x").status_code == 404
