"""Published checkpoints from the Hugging Face hub into the folder layout that `load_rudolph` reads.

Knows repositories, resumption and checksums; opens no weights. A file that arrived in part is kept and
continued by the next call; a file is only given its name once its checksum is the hub's.
"""

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import httpx2
from huggingface_hub import HfFileMetadata, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, tqdm

from model.checkpoint import VOCABULARY_FILE, VQGAN_DWT_FILE, VQGAN_PLAIN_FILE, write_config
from model.config import PRESETS, VqganConfig
from model.config_json import CheckpointConfig

VOCABULARY_REPO = "shonenkov/rudalle-utils"
VQGAN_REPO = "ai-forever/rudalle-utils"
LIBRARY_NAME = "rudolph-server"
MAX_FRUITLESS_ATTEMPTS = 5
PAUSE_S = 1.0
HASH_BLOCK_BYTES = 1 << 22
SHA1_DIGITS = 40
SHA256_DIGITS = 64


class DownloadError(RuntimeError):
    """A file that could not be fetched; the message says which and what to do."""


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
    """Fetch a published checkpoint into `directory` and describe it in config.json.

    dwt: the image tokenizer that draws twice the side. endpoint: base URL of the hub or a mirror; None for
    the hub's own, or the HF_ENDPOINT that the hub's library reads. Files that are there with the right
    checksum stay as they are.

    Returns the folder. Raises DownloadError: unknown preset, no connection, wrong checksum, another download
    running in the same folder.
    """
    if preset not in PRESETS:
        raise DownloadError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
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
        raise DownloadError(f"another download into {folder} is running") from None
    return folder


def _fetch(file: RemoteFile, folder: Path, endpoint: str | None, *, progress: bool) -> None:
    metadata = _describe(file, endpoint)
    target = folder / file.filename
    if target.is_file() and _matches(target, metadata):
        return
    # The checksum is part of the name: what another revision left behind is never continued.
    partial = folder / f".{file.filename}.{str(metadata.etag)[:16]}.partial"
    url = hf_hub_url(file.repo_id, file.filename, revision=metadata.commit_hash, endpoint=endpoint)
    was_continued = partial.is_file() and partial.stat().st_size > 0
    _receive(file, url, partial, metadata.size, progress=progress)
    if was_continued and not _matches(partial, metadata):
        # The kept part may have been spoilt on disk: once more from the beginning.
        partial.unlink()
        _receive(file, url, partial, metadata.size, progress=progress)
    if not _matches(partial, metadata):
        partial.unlink()
        raise DownloadError(
            f"{file.filename} of {file.repo_id} arrived damaged: its checksum is not the hub's"
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
        raise DownloadError(f"the server states no checksum for {file.filename} of {file.repo_id}")
    return metadata


def _receive(file: RemoteFile, url: str, partial: Path, size: int | None, *, progress: bool) -> None:
    """Write a file to `partial`, continuing what is there, until it is whole."""
    if size is not None and partial.is_file() and partial.stat().st_size > size:
        partial.unlink()
    fruitless = 0
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
            fruitless = 0 if partial.stat().st_size > before else fruitless + 1
            if fruitless == MAX_FRUITLESS_ATTEMPTS:
                raise _unreachable(file, error) from error
            time.sleep(PAUSE_S)
        except OSError as error:
            raise _unreachable(file, error) from error
        else:
            return


def _matches(path: Path, metadata: HfFileMetadata) -> bool:
    """Whether a file has the hub's checksum: SHA-256 of large files, git's blob hash of small ones."""
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
    return DownloadError(f"the hub refused {file.filename} of {file.repo_id} with status {status}")


def _unreachable(file: RemoteFile, error: Exception) -> DownloadError:
    return DownloadError(
        f"{file.filename} of {file.repo_id} did not arrive ({error}); "
        "run the download again to continue where it stopped"
    )


class SilentBar(tqdm):
    """A progress bar that draws nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"disable": True}))
