"""What a page of another site can do through a browser on the same machine: nothing."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.app.conftest import Running

BODY = {"prompt": "кот"}
KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def named(start_api: Any) -> Iterator[Running]:
    """An API with a name and a friendly origin of its own."""
    with start_api(
        allowed_hosts=("rudolph.example", "*.pages.example"), cors_origins=("https://friend.example",)
    ) as running:
        yield running


def post(api: Running, **headers: str) -> httpx.Response:
    with api.client() as http:
        return http.post(
            "/v1/text2text", json=BODY, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )


def own(api: Running) -> str:
    return api.url.removeprefix("http://")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "x", "1", "::"],
)
def test_an_unknown_host_is_refused(api: Running, host: str) -> None:
    with api.client(headers={"host": host}) as http:
        for reply in (http.get("/v1/models"), http.post("/v1/text2text", json=BODY), http.get("/metrics")):
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "host_not_allowed"), host
            assert "RUDOLPH_ALLOWED_HOSTS" in reply.json()["error"]["message"]
        assert http.get("/").status_code == 403
        assert http.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "a.localhost",
        "localhost.",
        "127.0.0.1:8000",
        "10.1.2.3",
        "[::1]:8000",
        "[::1]",
    ],
)
def test_its_addresses_and_localhost_are_known(api: Running, host: str) -> None:
    with api.client(headers={"host": host}) as http:
        assert http.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("rudolph.example", 200),
        ("Rudolph.Example:443", 200),
        ("a.pages.example", 200),
        ("a.b.pages.example", 200),
        ("pages.example", 403),
        ("notrudolph.example", 403),
        ("localhost", 200),
    ],
)
def test_names_of_the_setting_are_known(named: Running, host: str, status: int) -> None:
    with named.client(headers={"host": host}) as http:
        assert http.get("/v1/models").status_code == status


def test_with_keys_any_host_is_served_unless_names_are_set(start_api: Any) -> None:
    headers = {"host": "evil.example", "authorization": f"Bearer {KEY}"}
    with start_api(api_keys=f"a={KEY}") as api, api.client(headers=headers) as http:
        assert http.get("/v1/models").status_code == 200
    with (
        start_api(api_keys=f"a={KEY}", allowed_hosts=("own.example",)) as api,
        api.client(headers=headers) as http,
    ):
        assert http.get("/v1/models").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"origin": "https://friend.example.evil.example"},
        {"origin": "http://evil.example", "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://localhost:3000"},
        {"sec_fetch_site": "nonsense"},
    ],
)
def test_a_request_of_another_origin_is_refused(named: Running, headers: dict[str, str]) -> None:
    worked = len(named.worker.done) if named.worker else 0
    reply = post(named, **headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert named.worker is not None
    assert len(named.worker.done) == worked


def test_so_are_its_forms_and_deletions_but_not_its_reads(named: Running) -> None:
    foreign = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    with named.client(headers=foreign) as http:
        assert http.post("/v1/text2image", files={"prompt": (None, "кот")}).status_code == 403
        assert http.delete("/v1/jobs/job_1").status_code == 403
        assert http.get("/v1/models").status_code == 200


def test_the_same_origin_and_friends_may_send(named: Running) -> None:
    for headers in (
        {},
        {"origin": named.url},
        {"origin": named.url, "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": "https://friend.example", "sec_fetch_site": "cross-site"},
        {"origin": "https://proxy.example", "sec_fetch_site": "same-origin"},
    ):
        reply = post(named, **headers)
        assert reply.status_code == 200, (headers, reply.text)
    assert reply.headers["x-request-id"]


def test_a_proxy_that_adds_a_key_does_not_help_another_site(start_api: Any) -> None:
    with start_api(api_keys=f"a={KEY}") as api:
        added = {"authorization": f"Bearer {KEY}"}
        assert post(api, **added).status_code == 200
        assert post(api, **added, origin="http://evil.example").status_code == 403
        assert post(api, **added, sec_fetch_site="cross-site").status_code == 403


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.example", ("a.example",)),
        (" a.example, b.example ,", ("a.example", "b.example")),
        ('["a.example", "b.example"]', ("a.example", "b.example")),
        ("", ()),
    ],
)
def test_names_are_written_with_commas_or_as_json(
    monkeypatch: pytest.MonkeyPatch, text: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RUDOLPH_ALLOWED_HOSTS", text)
    monkeypatch.setenv("RUDOLPH_CORS_ORIGINS", text)
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert (settings.allowed_hosts, settings.cors_origins) == (names, names)
