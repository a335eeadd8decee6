"""`make pin-images` with a real registry: it writes the digest of each image, and renews it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.redis_servers import free_port

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Yield host and port of an empty registry."""
    missing = [name for name in ("docker-registry", "skopeo") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"the digests were NOT WRITTEN: {' and '.join(missing)} not installed (Debian packages)")
    host = f"127.0.0.1:{free_port()}"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}
    (tmp_path / "registry.yml").write_text(
        json.dumps({"version": 0.1, "storage": storage, "http": {"addr": host}})
    )
    command = ["docker-registry", "serve", str(tmp_path / "registry.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 10
            while not _answers(host):
                assert time.monotonic() < until
                time.sleep(0.05)
            yield host
        finally:
            process.terminate()


def _answers(host: str) -> bool:
    try:
        return httpx.get(f"http://{host}/v2/").status_code == 200
    except httpx.TransportError:
        return False


def push(host: str, name: str, tag: str, author: str) -> str:
    """Store an image without layers. Returns its digest."""
    settings = {
        "architecture": "amd64",
        "os": "linux",
        "author": author,
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    config = json.dumps(settings).encode()
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    with httpx.Client(base_url=f"http://{host}") as http:
        place = http.post(f"/v2/{name}/blobs/uploads/").headers["location"]
        http.put(f"{place}&digest={digest}", content=config).raise_for_status()
        entry = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "size": len(config),
            "digest": digest,
        }
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": entry, "layers": []})
        reply = http.put(f"/v2/{name}/manifests/{tag}", content=manifest, headers={"content-type": MANIFEST})
    reply.raise_for_status()
    return f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"


def images(file: Path) -> list[str]:
    return re.findall(r"(?:_IMAGE=|image: )(\S+/\S+)$", file.read_text(), flags=re.MULTILINE)


def test_every_base_image_gets_its_digest_and_a_later_call_renews_it(registry: str, tmp_path: Path) -> None:
    settings = tmp_path / ".config" / "containers" / "registries.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    files = [tmp_path / name for name in ("Dockerfile", "docker-compose.yml")]
    for file in files:
        text = (ROOT / file.name).read_text(encoding="utf-8")
        text = re.sub(r"@sha256:[0-9a-f]{64}", "", text)
        file.write_text(text.replace("docker.io/", f"{registry}/"))
    before = [name for file in files for name in images(file)]
    assert len(before) == 4
    for author in ("one", "two"):
        expected = [f"{name}@{push(registry, *_parts(name), author)}" for name in before]
        command = ["sh", str(ROOT / "scripts" / "pin_images.sh"), *map(str, files)]
        environment = os.environ | {"HOME": str(tmp_path)}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert sorted(done.stdout.split()) == sorted(expected)
        assert [name for file in files for name in images(file)] == expected
    # Nothing else changed.
    for file in files:
        rest = re.sub(r"@sha256:[0-9a-f]{64}", "", file.read_text()).replace(f"{registry}/", "docker.io/")
        assert rest == re.sub(r"@sha256:[0-9a-f]{64}", "", (ROOT / file.name).read_text())


def test_without_a_registry_nothing_is_written(tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed (a Debian package)")
    file = tmp_path / "Dockerfile"
    file.write_text("ARG PYTHON_IMAGE=127.0.0.1:1/python:3\n")
    command = ["sh", str(ROOT / "scripts" / "pin_images.sh"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert file.read_text() == "ARG PYTHON_IMAGE=127.0.0.1:1/python:3\n"


def _parts(image: str) -> tuple[str, str]:
    """Repository and tag of HOST:PORT/NAME:TAG."""
    name, _, tag = image.partition("/")[2].rpartition(":")
    return name, tag
