"""Sentinels over TLS, with users of their own: what goes over the wire, with real servers."""

import subprocess
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.client.client import JobClient
from jobs.contract.errors import QueueUnavailable
from jobs.redis import connection
from tests.support.programs import require
from tests.support.redis_servers import free_port

PASSWORD = "geheim"


@dataclass(frozen=True)
class Group:
    """A primary and a Sentinel that speak TLS only. `authority` has the certificate to check them with."""

    sentinel: int
    authority: Path
    users: str
    """Of the Sentinel: the same as those of the data, its own, or none."""

    def url(self, credentials: str, **options: str) -> str:
        words = "&".join(f"{name}={value}" for name, value in options.items())
        return f"rediss+sentinel://{credentials}@127.0.0.1:{self.sentinel}/queue/0?{words}"


def _certificates(folder: Path) -> None:
    """A self-signed certificate for 127.0.0.1, which is its own authority."""
    command = [
        *(
            require("openssl"),
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=redis",
        ),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem")),
        *("-out", str(folder / "cert.pem")),
    ]
    subprocess.run(command, check=True, capture_output=True)


def _start(stack: ExitStack, folder: Path, name: str, port: int, lines: list[str], *words: str) -> None:
    settings = folder / f"{name}.conf"
    tls = [
        "port 0", f"tls-port {port}", "bind 127.0.0.1", "tls-auth-clients no", "tls-replication yes",
        f"tls-cert-file {folder}/cert.pem", f"tls-key-file {folder}/key.pem",
        f"tls-ca-cert-file {folder}/cert.pem", f"dir {folder}",
    ]  # fmt: skip
    settings.write_text("\n".join((*tls, *lines)) + "\n")
    process = subprocess.Popen(
        [require("redis-server"), str(settings), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(process.wait)
    stack.callback(process.kill)


@pytest.fixture(scope="module", params=["same", "own", "none"])
def group(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Group]:
    folder = tmp_path_factory.mktemp("tls")
    _certificates(folder)
    primary, sentinel = free_port(), free_port()
    users = {
        "same": [f"user rudolph on >{PASSWORD} allchannels +@all", "user default off"],
        "own": ["user watcher on >anders allchannels +@all", "user default off"],
        "none": [],
    }[request.param]
    with ExitStack() as stack:
        data = [f"user rudolph on >{PASSWORD} ~* &* +@all", "user default off", "appendonly no", 'save ""']
        _start(stack, folder, "primary", primary, data)
        monitor = [
            f"sentinel monitor queue 127.0.0.1 {primary} 1",
            "sentinel auth-user queue rudolph",
            f"sentinel auth-pass queue {PASSWORD}",
            *users,
        ]
        _start(stack, folder, "sentinel", sentinel, monitor, "--sentinel")
        yield Group(sentinel, folder / "cert.pem", request.param)


def _options(group: Group) -> dict[str, str]:
    own = {"sentinel_username": "watcher", "sentinel_password": "anders"}
    return {"ssl_ca_certs": str(group.authority)} | (own if group.users == "own" else {})


async def test_the_queue_is_found_through_a_sentinel_over_tls(group: Group) -> None:
    url = group.url(f"rudolph:{PASSWORD}", **_options(group))
    client = await _connect(url)
    await client.ping()
    await client.close()
    blocking = connection.open_sync(url, timeout_s=5)
    try:
        assert blocking.execute_command("PING")
    finally:
        connection.close_sync(blocking)


async def test_a_certificate_of_another_authority_is_refused(group: Group) -> None:
    options = {name: value for name, value in _options(group).items() if name != "ssl_ca_certs"}
    with pytest.raises(QueueUnavailable) as fault:
        await JobClient.connect(group.url(f"rudolph:{PASSWORD}", **options))
    assert "No Sentinel" in fault.value.reason or "TLS" in fault.value.reason


async def test_a_wrong_password_is_refused(group: Group) -> None:
    with pytest.raises(QueueUnavailable) as fault:
        await JobClient.connect(group.url("rudolph:falsch", **_options(group)))
    assert "falsch" not in fault.value.reason


async def _connect(url: str) -> JobClient:
    for _ in range(40):
        try:
            return await JobClient.connect(url)
        except QueueUnavailable as error:
            last = error
    raise last
