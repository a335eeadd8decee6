"""Downloads from a small server that answers as the hub does: checksums on HEAD, large files elsewhere."""

import contextlib
import hashlib
import json
import os
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import filelock
import numpy as np
import pytest

from model.config import PRESETS
from model.files.checkpoint import CheckpointError, load_rudolph
from model.files.config_json import parse_config
from model.files.download import DownloadError, download

COMMIT = "0123456789abcdef0123456789abcdef01234567"
VOCABULARY = ("shonenkov/rudalle-utils", "bpe.model")
VQGAN = ("ai-forever/rudalle-utils", "vqgan.gumbelf8-sber.model.ckpt")
TRANSFORMER = ("ai-forever/RuDOLPH-350M", "pytorch_model.bin")


@dataclass
class Hub:
    """What the server holds, how it misbehaves, and what it was asked."""

    files: dict[tuple[str, str], bytes]
    url: str = ""
    cut_at: dict[str, list[int]] = field(default_factory=dict)
    """File → bytes after which each of the next transfers breaks off."""
    refuse: dict[str, list[int]] = field(default_factory=dict)
    """File → transfers to let through before a refusal with this status."""
    corrupt: set[str] = field(default_factory=set)
    ignores_ranges: bool = False
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    def ranges_of(self, name: str) -> list[str | None]:
        """Range headers of the transfers of a file, in order."""
        return [
            wanted
            for method, path, wanted in self.requests
            if method == "GET" and "/cdn/" in path and path.endswith(name)
        ]


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            hub.requests.append(("HEAD", self.path, None))
            self.answer()

        def do_GET(self) -> None:
            hub.requests.append(("GET", self.path, self.headers.get("Range")))
            self.answer()

        def answer(self) -> None:
            parts = self.path.strip("/").split("/")
            if parts[0] == "cdn":
                self.transfer((f"{parts[1]}/{parts[2]}", parts[3]))
                return
            key = (f"{parts[0]}/{parts[1]}", parts[-1])
            if key not in hub.files:
                self.reply(404, {"X-Error-Code": "EntryNotFound"})
                return
            content = hub.files[key]
            if key == VOCABULARY:
                # Small files are kept in git itself, and served by the hub.
                blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
                self.reply(200, {"ETag": f'"{blob}"', "X-Repo-Commit": COMMIT}, content)
                return
            headers = {
                "X-Repo-Commit": COMMIT,
                "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
                "ETag": '"of-the-redirect"',
                "Location": hub.url.replace("127.0.0.1", "localhost") + f"/cdn/{key[0]}/{key[1]}",
            }
            self.reply(302, headers)

        def transfer(self, key: tuple[str, str]) -> None:
            content, name = hub.files[key], key[1]
            if name in hub.corrupt:
                content = bytes([content[0] ^ 1]) + content[1:]
            if waits := hub.refuse.get(name):
                waits[0] -= 1
                if waits[0] < 0:
                    del hub.refuse[name]
                    self.reply(503, {})
                    return
            start, wanted = 0, self.headers.get("Range")
            if wanted is not None and not hub.ignores_ranges:
                start = int(wanted.removeprefix("bytes=").split("-")[0])
            headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
            cut = hub.cut_at.get(name) or [len(content)]
            self.reply(206 if start else 200, headers, content[start:], sent=cut.pop(0))

        def reply(
            self, status: int, headers: dict[str, str], body: bytes = b"", sent: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:sent])
                self.close_connection = sent is not None and sent < len(body)

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    random = np.random.default_rng(0)
    files = {key: random.bytes(size) for key, size in ((VQGAN, 300_000), (TRANSFORMER, 500_000))}
    hub = Hub(files | {VOCABULARY: b"1 0\n9601 4\n1 0 2 3\n"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def small_scale(monkeypatch):
    """No waiting between attempts, and blocks that suit small files (the hub's are 10 MB)."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)


def fetch(hub: Hub, folder: Path, **options) -> Path:
    return download("350M", folder, endpoint=hub.url, progress=False, **options)


def partials(folder: Path) -> list[Path]:
    return list(folder.glob(".*.partial"))


def test_folder_has_every_file_and_a_config(hub, tmp_path):
    folder = fetch(hub, tmp_path / "new" / "350M")
    for (_, name), content in hub.files.items():
        assert (folder / name).read_bytes() == content
    config = parse_config(json.loads((folder / "config.json").read_text()))
    assert config.model == PRESETS["350M"].config
    assert config.name == "RuDOLPH-350M"
    assert not partials(folder)
    # The layout is the loader's own: it gets as far as the random bytes that stand for weights.
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is damaged"):
        load_rudolph(folder)


def test_abilities_of_a_fine_tuned_checkpoint_are_written_down(hub, tmp_path):
    hub.files["ai-forever/RUDOLPH-2.7B-FBC2", "pytorch_model.bin"] = b"weights"
    download("2.7B-FBC2", tmp_path, endpoint=hub.url, progress=False)
    assert parse_config(json.loads((tmp_path / "config.json").read_text())).tasks == {"answer"}


def test_wavelet_image_tokenizer_is_fetched_when_asked_for(hub, tmp_path):
    hub.files["ai-forever/rudalle-utils", "vqgan.gumbelf8-sber-dwt.model.ckpt"] = b"wavelets"
    fetch(hub, tmp_path, dwt=True)
    assert (tmp_path / "vqgan.gumbelf8-sber-dwt.model.ckpt").read_bytes() == b"wavelets"
    assert not (tmp_path / VQGAN[1]).exists()
    assert json.loads((tmp_path / "config.json").read_text())["vae"]["dwt"] is True


def test_interrupted_transfer_is_continued(hub, tmp_path):
    hub.cut_at[TRANSFORMER[1]] = [200_000, 100_000]
    fetch(hub, tmp_path)
    assert (tmp_path / TRANSFORMER[1]).read_bytes() == hub.files[TRANSFORMER]
    first, second, third = hub.ranges_of(TRANSFORMER[1])
    assert (first, second) == (None, "bytes=200000-")
    assert third == "bytes=300000-"


def test_next_call_continues_what_a_failed_one_left(hub, tmp_path):
    hub.cut_at[TRANSFORMER[1]] = [200_000]
    hub.refuse[TRANSFORMER[1]] = [1]
    with pytest.raises(DownloadError, match="503"):
        fetch(hub, tmp_path)
    assert not (tmp_path / TRANSFORMER[1]).exists()
    assert [path.stat().st_size for path in partials(tmp_path)] == [200_000]
    fetch(hub, tmp_path)
    assert (tmp_path / TRANSFORMER[1]).read_bytes() == hub.files[TRANSFORMER]
    assert hub.ranges_of(TRANSFORMER[1])[-1] == "bytes=200000-"
    assert not partials(tmp_path)


def test_a_server_without_ranges_sends_the_file_from_its_start(hub, tmp_path):
    hub.cut_at[TRANSFORMER[1]] = [200_000]
    hub.ignores_ranges = True
    fetch(hub, tmp_path)
    assert (tmp_path / TRANSFORMER[1]).read_bytes() == hub.files[TRANSFORMER]


def test_a_part_that_is_damaged_on_disk_is_downloaded_again(hub, tmp_path):
    hub.cut_at[TRANSFORMER[1]] = [200_000]
    hub.refuse[TRANSFORMER[1]] = [1]
    with pytest.raises(DownloadError):
        fetch(hub, tmp_path)
    (part,) = partials(tmp_path)
    part.write_bytes(bytes(200_000))
    fetch(hub, tmp_path)
    assert (tmp_path / TRANSFORMER[1]).read_bytes() == hub.files[TRANSFORMER]


@pytest.mark.parametrize("name", [TRANSFORMER[1], VQGAN[1]])
def test_corrupted_file_is_refused_and_not_kept(hub, tmp_path, name):
    hub.corrupt.add(name)
    with pytest.raises(DownloadError, match=f"{name}.*damaged"):
        fetch(hub, tmp_path)
    assert not (tmp_path / name).exists()
    assert not partials(tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_files_already_there_are_not_fetched_again(hub, tmp_path):
    fetch(hub, tmp_path)
    hub.requests.clear()
    fetch(hub, tmp_path)
    assert {method for method, _, _ in hub.requests} == {"HEAD"}


def test_file_changed_on_disk_is_fetched_again(hub, tmp_path):
    fetch(hub, tmp_path)
    (tmp_path / VQGAN[1]).write_bytes(bytes(len(hub.files[VQGAN])))
    (tmp_path / VOCABULARY[1]).write_bytes(b"changed")
    fetch(hub, tmp_path)
    assert (tmp_path / VQGAN[1]).read_bytes() == hub.files[VQGAN]
    assert (tmp_path / VOCABULARY[1]).read_bytes() == hub.files[VOCABULARY]


def test_newer_revision_does_not_continue_an_older_part(hub, tmp_path):
    hub.cut_at[TRANSFORMER[1]] = [200_000]
    hub.refuse[TRANSFORMER[1]] = [1]
    with contextlib.suppress(DownloadError):
        fetch(hub, tmp_path)
    hub.files[TRANSFORMER] = b"newer" * 100_000
    fetch(hub, tmp_path)
    assert (tmp_path / TRANSFORMER[1]).read_bytes() == b"newer" * 100_000


def test_missing_file_is_named(hub, tmp_path):
    del hub.files[VQGAN]
    with pytest.raises(DownloadError, match=r"vqgan\.gumbelf8-sber\.model\.ckpt.*404"):
        fetch(hub, tmp_path)


def test_unknown_preset_lists_the_known(tmp_path):
    with pytest.raises(DownloadError, match="350M, 350M-v2"):
        download("13B", tmp_path)


def test_unreachable_hub_is_reported_in_words(tmp_path):
    with pytest.raises(DownloadError, match=r"bpe\.model.*did not arrive"):
        download("350M", tmp_path, endpoint="http://127.0.0.1:9", progress=False)


def test_two_downloads_into_one_folder_do_not_mix(hub, tmp_path):
    with (
        filelock.FileLock(tmp_path / ".download.lock"),
        pytest.raises(DownloadError, match="Another download"),
    ):
        fetch(hub, tmp_path)


def test_progress_is_drawn_on_a_terminal(hub, tmp_path, monkeypatch):
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    with os.fdopen(terminal, "w") as screen, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", screen)
        download("350M", tmp_path, endpoint=hub.url)
    drawn = b""
    # A terminal hands over a piece at a time, and ends in an error once its other side is closed.
    with contextlib.suppress(OSError):
        while piece := os.read(controller, 4096):
            drawn += piece
    os.close(controller)
    assert b"pytorch_model.bin" in drawn
    assert b"500k/500k" in drawn


@pytest.mark.parametrize(
    "endpoint", ["http://hub.example", "http://127.0.0.1.hub.example", "ftp://hub.example", "hub.example"]
)
def test_a_hub_without_tls_is_refused_before_anything_is_sent(tmp_path, endpoint):
    with pytest.raises(DownloadError, match=r"HF_ENDPOINT.*https://"):
        download("350M", tmp_path / "model", endpoint=endpoint, progress=False)
    assert not (tmp_path / "model").exists()
