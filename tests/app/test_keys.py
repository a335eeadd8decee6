"""Keys as the operator writes them: what is read, and that a setting without a key never opens the server."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.keys import load_keys
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ANNA = "a-key-of-anna-0123456789"


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg, arg-type]


def entry(name: str, key: str, **more: object) -> dict[str, object]:
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


def file_of(folder: Path, content: object) -> Path:
    path = folder / "keys.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_without_a_setting_the_server_is_open() -> None:
    assert not load_keys(settings()).closed


def test_the_settings_file_never_needs_a_key_itself(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("anna", ANNA, tenant="дом")]))
    ring = load_keys(settings(api_keys_file=path))
    found = ring.find(ANNA)
    assert found is not None
    assert (found.name, found.tenant) == ("anna", "дом")
    assert ring.find(ANNA + "x") is None
    assert ring.find("\udcff") is None


@pytest.mark.parametrize(
    "entries",
    [
        '[{"name": "a"}]',
        '[{"name": "a", "sha256": "zz"}]',
        '[{"name": "a", "sha256": "00"}]',
        json.dumps([{"name": "", "sha256": "00" * 32}]),
        json.dumps([{"name": None, "sha256": "00" * 32}]),
        json.dumps([entry("a", "")]),
        "[5]",
        "{",
        # Present, but without a key.
        "",
        "[]",
        "{}",
        "null",
        '{"name": "a", "sha256": "00"}',
    ],
)
def test_a_wrong_keys_file_is_named(tmp_path: Path, entries: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(entries)
    with pytest.raises(ValueError, match=r"keys\.json"):
        load_keys(settings(api_keys_file=path))


def test_a_wrong_quota_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("a", ANNA, requests_per_minute=0)]))
    with pytest.raises(ValueError, match="requests_per_minute"):
        load_keys(settings(api_keys_file=path))


def test_a_short_key_in_the_environment_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="entry 0") as caught:
        load_keys(settings(api_keys="anna=geheim"))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["", " ", " , ,", "anna", "anna=", "=key-without-a-name-0123", "a=ключ" * 5]
)
def test_a_variable_without_a_usable_key_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="RUDOLPH_API_KEYS"):
        load_keys(settings(api_keys=value))


@pytest.mark.parametrize("kind", ["missing", "folder", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "not UTF-8":
        path.write_bytes(b'[{"name": "\xff"}]')
    with pytest.raises(ValueError, match=r"RUDOLPH_API_KEYS_FILE.*keys\.json"):
        load_keys(settings(api_keys_file=path))


def test_a_file_without_keys_is_not_made_good_by_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no key"):
        load_keys(settings(api_keys=f"anna={ANNA}", api_keys_file=file_of(tmp_path, [])))


def test_one_key_for_two_names_and_two_keys_for_one_name_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="anna and boris have the same key"):
        load_keys(settings(api_keys=f"anna={ANNA},boris={ANNA}"))
    with pytest.raises(ValueError, match="anna is given twice"):
        load_keys(settings(api_keys=f"anna={ANNA},anna={ANNA}x"))
    path = file_of(tmp_path, [entry("anna", f"{ANNA}x")])
    with pytest.raises(ValueError, match="anna is given twice"):
        load_keys(settings(api_keys=f"anna={ANNA}", api_keys_file=path))


def test_two_keys_of_one_client_share_a_tenant(tmp_path: Path) -> None:
    path = file_of(tmp_path, [entry("old", ANNA, tenant="anna"), entry("new", f"{ANNA}x", tenant="anna")])
    ring = load_keys(settings(api_keys_file=path))
    assert {found.tenant for key in (ANNA, f"{ANNA}x") if (found := ring.find(key))} == {"anna"}


@pytest.mark.parametrize(
    "command", [["cli", "serve", "--workers", "0"], ["uvicorn", "--factory", "app.main:create_app"]]
)
@pytest.mark.parametrize(
    ("variable", "content"),
    [
        ("RUDOLPH_API_KEYS", ""),
        ("RUDOLPH_API_KEYS", " , "),
        ("rudolph_api_keys", ""),
        ("RUDOLPH_API_KEYS_FILE", ""),
        ("RUDOLPH_API_KEYS_FILE", "none.json"),
        ("RUDOLPH_MAX_QUEUE_DEPTH", "many"),
    ],
)
def test_the_server_ends_with_one_line_and_exit_code_78(
    tmp_path: Path, command: list[str], variable: str, content: str
) -> None:
    reply = subprocess.run(
        [sys.executable, "-m", *command, "--port", "0"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "RUDOLPH_DATA_DIR": str(tmp_path), variable: content},
    )
    assert reply.returncode == 78
    (line,) = reply.stderr.strip().splitlines()
    assert line.startswith(f"error: {variable.upper()}")
    assert not list(tmp_path.iterdir())
