"""Reads the API keys that the settings name. Knows the two formats of keys; does not know requests.

A setting that is present but yields no key is an error, never a server without keys.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from app.auth import KeyRing, Principal
from app.quotas import Quota
from app.settings import Settings

MIN_KEY_LENGTH = 16
_KEY = re.compile(rf"[!-~]{{{MIN_KEY_LENGTH},}}")
"""An Authorization header may change other characters on the way to the server."""
_EMPTY_DIGEST = hashlib.sha256().digest()
_VARIABLE = "RUDOLPH_API_KEYS"
_FILE_VARIABLE = "RUDOLPH_API_KEYS_FILE"

Entry = tuple[bytes, Principal]
"""SHA-256 digest of a key, and its client."""


def load_keys(settings: Settings) -> KeyRing:
    """Read keys from the environment (`name=key,…`) and from the file (digests only).

    The ring is empty only without both settings. Raises ValueError, which names the setting and the entry,
    never the key.
    """
    entries: list[Entry] = []
    if settings.api_keys is not None:
        entries += _from_pairs(settings.api_keys.get_secret_value())
    if settings.api_keys_file is not None:
        entries += _from_file(settings.api_keys_file)
    _refuse_duplicates(entries)
    return KeyRing(dict(entries))


def _from_pairs(text: str) -> list[Entry]:
    pairs = [part.strip() for part in text.split(",") if part.strip()]
    if not pairs:
        raise ValueError(_no_key(_VARIABLE, "write name=key"))
    return [_from_pair(index, pair) for index, pair in enumerate(pairs)]


def _from_pair(index: int, pair: str) -> Entry:
    name, _, key = pair.partition("=")
    if not name or not _KEY.fullmatch(key):
        raise ValueError(
            f"{_VARIABLE}, entry {index}: write name=key with a key of {MIN_KEY_LENGTH} characters or more, "
            "all of them printable ASCII."
        )
    return hashlib.sha256(key.encode()).digest(), Principal(name, name)


def _from_file(path: Path) -> Iterator[Entry]:
    where = f"{_FILE_VARIABLE}: {path}"
    try:
        entries: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{where} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}.") from error
    if not isinstance(entries, list):
        raise ValueError(f"{where} must be a JSON list of {{name, sha256}}.")
    if not entries:
        raise ValueError(_no_key(where, "add an entry {name, sha256}"))
    for index, entry in enumerate(entries):
        try:
            yield _from_entry(entry)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{where}, entry {index} needs `name` and `sha256` (64 hex digits): {error}"
            ) from error


def _from_entry(entry: dict[str, object]) -> Entry:
    name, tenant, digits = entry["name"], entry.get("tenant", entry["name"]), entry["sha256"]
    if not isinstance(name, str) or not isinstance(tenant, str) or not name or not tenant:
        raise ValueError("name and tenant must be text")
    digest = bytes.fromhex(digits) if isinstance(digits, str) else b""
    if len(digest) != len(_EMPTY_DIGEST):
        raise ValueError("sha256 is not 64 hexadecimal digits")
    if digest == _EMPTY_DIGEST:
        raise ValueError("sha256 is that of an empty key")
    quota_id = hashlib.sha256(digest).hexdigest()[:32]
    quota = Quota(quota_id, _per_minute(entry, "requests"), _per_minute(entry, "candidates"))
    return digest, Principal(name, tenant, quota)


def _per_minute(entry: dict[str, object], kind: str) -> int | None:
    per_minute = entry.get(f"{kind}_per_minute")
    if per_minute is None:
        return None
    if not isinstance(per_minute, int) or isinstance(per_minute, bool) or per_minute < 1:
        raise ValueError(f"{kind}_per_minute must be an integer from 1")
    return per_minute


def _refuse_duplicates(entries: Iterable[Entry]) -> None:
    names: dict[bytes, str] = {}
    for digest, principal in entries:
        if digest in names:
            raise ValueError(f"API keys: {names[digest]} and {principal.name} have the same key.")
        if principal.name in names.values():
            raise ValueError(
                f"API keys: the name {principal.name} is given twice. Name each key differently; two keys of "
                f"one client share its `tenant` in the file of {_FILE_VARIABLE}."
            )
        names[digest] = principal.name


def _no_key(where: str, remedy: str) -> str:
    return f"{where} has no key. To close the server {remedy}; to serve without keys remove the setting."
