"""Downloads published checkpoints from the Hugging Face hub into the folder layout of `load_rudolph`.

Opens no weights. The next call resumes a file that arrived in part. A file gets its name only after its
checksum was compared with that of the hub. `hf_hub_download` does neither (`docs/adr/0019-own-code.md`).
"""

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import filelock
import httpx2
from huggingface_hub import HfFileMetadata, get_hf_file_metadata, hf_hub_url
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, tqdm

from model.config import PRESETS, VqganConfig
from model.files.checkpoint import VOCABULARY_FILE, VQGAN_DWT_FILE, VQGAN_PLAIN_FILE, write_config
from model.files.config_json import CheckpointConfig

VOCABULARY_REPO = "shonenkov/rudalle-utils"
VQGAN_REPO = "ai-forever/rudalle-utils"
LIBRARY_NAME = "rudolph-server"
MAX_IDLE_ATTEMPTS = 5
PAUSE_S = 1.0
HASH_BLOCK_BYTES = 1 << 22
SHA1_DIGITS = 40
SHA256_DIGITS = 64
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class DownloadError(RuntimeError):
    """A file that could not be downloaded; the message names it and the remedy."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub, and its name in the folder."""

    repo_id: str
    filename: str


def download(
    preset: str,
    directory: Path | str,
    *,
    dwt: bool = False,
    endpoint: str | None = None,
    progress: bool = True,
) -> Path:
    """Download a published checkpoint into `directory` and write its config.json. Return the folder.

    dwt: the image tokenizer that draws twice the side. endpoint: base URL of the hub or of a mirror; None for
    the hub or `HF_ENDPOINT`. Files with the right checksum are not downloaded again.

    Raises DownloadError: unknown preset, no connection, wrong checksum, another download into the folder, an
    endpoint without TLS.
    """
    _check_endpoint(endpoint or ENDPOINT)
    if preset not in PRESETS:
        raise DownloadError(f"There is no preset {preset!r}. Presets: {', '.join(PRESETS)}.")
    published, folder = PRESETS[preset], Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    files = (
        RemoteFile(VOCABULARY_REPO, VOCABULARY_FILE),
        RemoteFile(VQGAN_REPO, VQGAN_DWT_FILE if dwt else VQGAN_PLAIN_FILE),
        RemoteFile(published.repo_id, published.filename),
    )
    try:
        with filelock.FileLock(folder / ".download.lock", timeout=0):
            for file in files:
                _fetch(file, folder, endpoint, progress=progress)
            name = published.repo_id.rpartition("/")[2]
            vqgan = VqganConfig(dwt=dwt)
            write_config(folder, CheckpointConfig(published.config, vqgan, name, published.tasks))
    except filelock.Timeout:
        raise DownloadError(f"Another download into {folder} is running. Wait for its end.") from None
    return folder


def _check_endpoint(endpoint: str) -> None:
    """Refuse a hub without TLS: it states the checksums, and gets the user's token. Loopback needs none."""
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise DownloadError("The address of the hub (HF_ENDPOINT) must begin with https://. Correct it.")


def _fetch(file: RemoteFile, folder: Path, endpoint: str | None, *, progress: bool) -> None:
    metadata = _describe(file, endpoint)
    target = folder / file.filename
    if target.is_file() and _matches(target, metadata):
        return
    # The checksum is part of the name, so that the part of another revision is never resumed.
    partial = folder / f".{file.filename}.{str(metadata.etag)[:16]}.partial"
    url = hf_hub_url(file.repo_id, file.filename, revision=metadata.commit_hash, endpoint=endpoint)
    was_resumed = partial.is_file() and partial.stat().st_size > 0
    _receive(file, url, partial, metadata.size, progress=progress)
    if was_resumed and not _matches(partial, metadata):
        # The part of an earlier call may be damaged on disk. Start again from the first byte.
        partial.unlink()
        _receive(file, url, partial, metadata.size, progress=progress)
    if not _matches(partial, metadata):
        partial.unlink()
        raise DownloadError(
            f"{file.filename} of {file.repo_id} is damaged: its checksum differs from that of the hub."
        )
    os.replace(partial, target)


def _describe(file: RemoteFile, endpoint: str | None) -> HfFileMetadata:
    """Size, checksum and revision, as the hub states them."""
    url = hf_hub_url(file.repo_id, file.filename, endpoint=endpoint)
    try:
        metadata = get_hf_file_metadata(url, library_name=LIBRARY_NAME, retry_on_errors=True)
    except HfHubHTTPError as error:
        raise _refused(file, error) from error
    except (httpx2.HTTPError, OSError) as error:
        raise _unreachable(file, error) from error
    if metadata.commit_hash is None or len(metadata.etag or "") not in {SHA1_DIGITS, SHA256_DIGITS}:
        raise DownloadError(f"The server states no checksum for {file.filename} of {file.repo_id}.")
    return metadata


def _receive(file: RemoteFile, url: str, partial: Path, size: int | None, *, progress: bool) -> None:
    """Write a file to `partial`; resume it there, and after each broken connection."""
    if size is not None and partial.is_file() and partial.stat().st_size > size:
        partial.unlink()
    idle_attempts = 0
    while True:
        before = partial.stat().st_size if partial.is_file() else 0
        try:
            with partial.open("ab") as target:
                http_get(
                    url,
                    target,
                    resume_size=before,
                    headers=build_hf_headers(library_name=LIBRARY_NAME),
                    expected_size=size,
                    displayed_filename=file.filename,
                    tqdm_class=tqdm if progress else SilentBar,
                )
        except HfHubHTTPError as error:
            raise _refused(file, error) from error
        except httpx2.TransportError as error:
            idle_attempts = 0 if partial.stat().st_size > before else idle_attempts + 1
            if idle_attempts == MAX_IDLE_ATTEMPTS:
                raise _unreachable(file, error) from error
            time.sleep(PAUSE_S)
        except OSError as error:
            raise _unreachable(file, error) from error
        else:
            return


def _matches(path: Path, metadata: HfFileMetadata) -> bool:
    """Whether a file has the checksum of the hub: SHA-256 of large files, the git blob hash of small ones."""
    stated = str(metadata.etag)
    if metadata.size is not None and path.stat().st_size != metadata.size:
        return False
    if len(stated) == SHA256_DIGITS:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest() == stated


def _refused(file: RemoteFile, error: HfHubHTTPError) -> DownloadError:
    status = error.response.status_code
    return DownloadError(f"The hub refused {file.filename} of {file.repo_id} with status {status}.")


def _unreachable(file: RemoteFile, error: Exception) -> DownloadError:
    return DownloadError(
        f"{file.filename} of {file.repo_id} did not arrive: {error}. Run the download again to resume it."
    )


class SilentBar(tqdm):
    """A progress bar that draws nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"disable": True}))
