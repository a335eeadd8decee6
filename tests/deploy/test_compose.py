"""The compose files, as far as they can be judged without an engine, and the Redis that they start."""

import re
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from app.keys import load_keys
from app.settings import Settings
from cli.models import DEFAULT
from jobs.contract.errors import NotPermitted
from jobs.redis.address import parse_url
from jobs.redis.transport import SyncTransport
from tests.deploy.compose import BASE, FILES, GPU, KEYS, ROOT, compose
from tests.support.programs import require
from tests.support.redis_servers import free_port
from tests.support.redis_users import documented_rights

OURS = ("api", "worker")
PASSWORD_FILE = "/run/secrets/redis_password"


def services(file: str = BASE) -> dict[str, Any]:
    return compose(file)["services"]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def sources(service: dict[str, Any]) -> list[str]:
    """What a service mounts: a path of the host, or the name of a volume."""
    return [re.split(r":(?=/)", volume)[0] for volume in service.get("volumes", [])]


def test_up_alone_starts_a_worker_and_all_that_it_needs() -> None:
    started = {name for name, service in services().items() if "profiles" not in service}
    assert started == {"redis", "api", "worker", "prometheus"}
    assert services()["worker"]["environment"]["RUDOLPH_DEVICE"] == "auto"
    assert "deploy" not in services()["worker"]  # a reservation needs a GPU


def test_the_file_for_a_gpu_changes_the_worker_alone() -> None:
    (worker,) = services(GPU).values()
    assert set(services(GPU)) == {"worker"}
    assert worker["environment"] == {"RUDOLPH_DEVICE": "cuda"}  # without a GPU it ends instead of being slow
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_other_files_change_services_that_exist() -> None:
    for file in FILES:
        assert set(services(file)) <= set(services())


def test_every_container_has_limits_of_memory_and_logs() -> None:
    for service in services().values():
        assert service["mem_limit"]
        assert service["logging"]["driver"] == "json-file"
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_redis_has_room_to_rewrite_its_file() -> None:
    (maxmemory,) = re.findall(r"^maxmemory (\d+)gb$", read("docker/redis.conf"), flags=re.MULTILINE)
    assert int(services()["redis"]["mem_limit"].removesuffix("g")) >= 2 * int(maxmemory)


def test_no_container_leaves_a_volume_without_a_name() -> None:
    assert "VOLUME" not in read("Dockerfile")
    named = set(compose()["volumes"])
    for service in services().values():
        for source in sources(service):
            assert source in named or source.startswith(("./", "${"))
    # HOME of the worker, for compiled kernels. The API writes nothing.
    assert "worker-data:/data" in services()["worker"]["volumes"]


def test_secrets_are_files_that_git_ignores() -> None:
    for file in FILES:
        for secret in compose(file).get("secrets", {}).values():
            assert secret["file"].startswith("./secrets/")
            ignored = ["git", "check-ignore", "--quiet", secret["file"]]
            assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0
    declared = set(compose()["secrets"]) | set(compose(KEYS)["secrets"])
    used = {name for file in FILES for one in services(file).values() for name in one.get("secrets", [])}
    assert used == declared


def test_no_environment_has_the_password_of_redis(tmp_path: Path) -> None:
    assert "PASSWORD}" not in read(BASE)
    (tmp_path / "password").write_text("geheim\n")
    for name in OURS:
        assert services()[name]["secrets"] == ["redis_password"]
        url = services()[name]["environment"]["RUDOLPH_REDIS_URL"]
        assert url.count(PASSWORD_FILE) == 1
        address = parse_url(url.replace(PASSWORD_FILE, str(tmp_path / "password")))
        credentials = {"username": "rudolph", "password": "geheim", "host": "redis"}
        assert credentials.items() <= dict(address.options).items()
    assert services()["redis"]["command"].count(PASSWORD_FILE) == 1


def test_the_parts_wait_at_a_wrong_setting_and_start_again_otherwise() -> None:
    for name in OURS:
        assert services()[name]["entrypoint"] == ["sh", "/opt/entry.sh"]
        assert services()[name]["restart"] == "unless-stopped"
    copied = re.findall(
        r"^COPY docker/healthcheck.py docker/entry.sh /opt/$", read("Dockerfile"), flags=re.MULTILINE
    )
    assert len(copied) == 1
    # An entry point of Compose clears the command of the image.
    for name, stage in (("api", "AS api"), ("worker", "AS worker")):
        part = read("Dockerfile").split(stage + "\n", 1)[1].split("\nFROM ", 1)[0]
        (command,) = re.findall(r"^CMD (\[.*\])$", part, flags=re.MULTILINE)
        assert services()[name]["command"] == yaml.safe_load(command)


def test_containers_have_health_checks_and_no_rights() -> None:
    assert services()["redis"]["healthcheck"]
    assert services()["grafana"]["profiles"] == ["grafana"]
    for name in ("redis", *OURS):
        assert services()[name]["read_only"] is True
        assert services()[name]["cap_drop"] == ["ALL"]
    for stage in ("AS api\n", "AS worker\n"):
        part = read("Dockerfile").split(stage, 1)[1].split("\nFROM ", 1)[0]
        assert "HEALTHCHECK" in part
        assert "USER 10001" in part


def test_the_api_is_published_on_this_machine_alone_by_default() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert len(ports) == 3
    for port in ports:
        assert re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", port).startswith("127.0.0.1:")


def test_keys_of_the_environment_are_passed_on_only_where_they_are_set() -> None:
    environment = services()["api"]["environment"]
    assert "RUDOLPH_API_KEYS" in environment
    # A name without a value is left out of the container where the variable is not set.
    assert environment["RUDOLPH_API_KEYS"] is None


def test_with_keys_prometheus_sends_one() -> None:
    plain = yaml.safe_load(read("docker/prometheus/prometheus.yml"))
    with_key = yaml.safe_load(read("docker/prometheus/with_key.yml"))
    authorization = with_key["scrape_configs"][0].pop("authorization")
    assert with_key == plain
    (secret,) = services(KEYS)["prometheus"]["secrets"]
    assert authorization == {"credentials_file": f"/run/secrets/{secret}"}
    changed, usual = services(KEYS)["prometheus"]["command"], services()["prometheus"]["command"]
    assert changed[0] == "--config.file=/etc/prometheus/with_key.yml"
    assert changed[1:] == usual[1:]


def test_the_documented_commands_make_keys_that_the_server_reads(tmp_path: Path) -> None:
    (commands,) = [block for block in re.findall(r"```sh\n(.*?)```", read("docs/operations.md"), re.DOTALL)
                   if "metrics_key" in block]  # fmt: skip
    subprocess.run(["sh", "-euc", commands], cwd=tmp_path, check=True)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    file = tmp_path / Path(compose(KEYS)["secrets"]["api_keys"]["file"])
    keys = load_keys(Settings(_env_file=None, api_keys_file=file))  # type: ignore[call-arg]
    principal = keys.find((tmp_path / compose(KEYS)["secrets"]["metrics_key"]["file"]).read_text())
    assert principal is not None
    assert principal.name == "prometheus"


def test_our_images_have_the_version_of_the_project() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert [services()[name]["image"] for name in OURS] == [f"rudolph-{name}:{version}" for name in OURS]
    assert re.findall(r"^ARG VERSION=(.*)$", read("Dockerfile"), flags=re.MULTILINE) == [version] * 2


def test_other_images_have_a_version_and_never_the_latest() -> None:
    images = [service["image"] for service in services().values() if "/" in service["image"]]
    images += re.findall(r"^ARG \w+_IMAGE=(\S+)$", read("Dockerfile"), flags=re.MULTILINE)
    assert len(images) == 4
    for image in images:
        assert re.search(r":v?\d+(\.\d+)*[-.\w]*(@sha256:[0-9a-f]{64})?$", image), image
        assert "latest" not in image


@pytest.mark.parametrize("word", ["appendonly yes", "maxmemory-policy noeviction", "maxmemory "])
def test_redis_forgets_nothing_and_evicts_nothing(word: str) -> None:
    assert word in read("docker/redis.conf")


def redis_command(folder: Path, password: str, port: int = 0) -> list[str]:
    """The command of the compose file, with paths of this machine."""
    settings = read("docker/redis.conf").replace("dir /data", f"dir {folder}")
    (folder / "rudolph.conf").write_text(settings.replace("bind * -::*", f"port {port}"), encoding="utf-8")
    (folder / "password").write_text(password)
    paths = {
        "/etc/redis/start.sh": ROOT / "docker" / "redis.sh",
        "/etc/redis/rudolph.conf": folder / "rudolph.conf",
        PASSWORD_FILE: folder / "password",
        "/tmp/redis.conf": folder / "redis.conf",
    }
    return [str(paths.get(word, word)) for word in services()["redis"]["command"]]


@pytest.mark.parametrize("password", ["", "\n", "two words", "a>b"])
def test_redis_does_not_start_without_a_plain_password(tmp_path: Path, password: str) -> None:
    done = subprocess.run(redis_command(tmp_path, password), capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "letters and digits" in done.stderr


def test_the_redis_of_compose_serves_its_user_alone(tmp_path: Path) -> None:
    require("redis-server")
    port = free_port()
    process = subprocess.Popen(redis_command(tmp_path, "geheim\n", port), stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, socket_timeout=5) as anonymous:
            _wait_for_ping(anonymous)
            with pytest.raises(redis.exceptions.NoPermissionError):
                anonymous.keys()
            with pytest.raises(redis.exceptions.NoPermissionError):
                anonymous.set("{rudolph}:epoch", "x")
        _check_rights(f"redis://rudolph@127.0.0.1:{port}/0?password_file={tmp_path / 'password'}")
        with pytest.raises(NotPermitted, match="WRONGPASS"):
            _check_rights(f"redis://rudolph:falsch@127.0.0.1:{port}/0")
    finally:
        process.terminate()
        process.wait(10)
    written = tmp_path / "redis.conf"
    assert written.stat().st_mode & 0o077 == 0
    rule = written.read_text().split("user rudolph on >geheim ")[1].split()
    assert rule == documented_rights()


def _wait_for_ping(client: redis.Redis) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            assert client.ping()
            return
        except redis.ConnectionError:
            assert time.monotonic() < until
            time.sleep(0.05)


def _check_rights(url: str) -> None:
    transport = SyncTransport(url, "rudolph", timeout_s=5)
    try:
        transport.check_rights(retry_for_s=1, replicas=1)
    finally:
        transport.close()


def test_the_default_checkpoint_is_the_demo() -> None:
    mounted = [source for service in services().values() for source in sources(service)]
    defaults = {
        found[1] for source in mounted if (found := re.match(r"\$\{RUDOLPH_MODEL_DIR:-([^}]*)\}", source))
    }
    assert [(ROOT / path).resolve() for path in defaults] == [DEFAULT]
    assert (DEFAULT / "model.safetensors").is_file()
