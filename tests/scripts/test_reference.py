"""Generated references: complete, current, and impossible to forget."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from app.settings import Settings
from app.tasks import TASKS
from scripts.reference import configuration, decisions, fields
from workers.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]


def test_every_setting_is_in_the_document() -> None:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for name in {**Settings.model_fields, **WorkerSettings.model_fields}:
        assert f"| `RUDOLPH_{name.upper()}` |" in text


def test_references_are_current() -> None:
    command = [sys.executable, "-m", "scripts.reference", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_setting_without_a_description_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(BaseSettings):
        speed: int = 3

    monkeypatch.setattr(configuration, "SECTIONS", (("Bare", "", Bare),))
    with pytest.raises(configuration.UndescribedSetting, match=r"Bare\.speed has no description"):
        configuration.render()


def test_a_record_without_a_status_or_a_section_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "docs" / "adr"
    folder.mkdir(parents=True)
    head = "# 1. A title\n\n- Date: 2026-11-30\n"
    (folder / "0001-a-title.md").write_text(head, encoding="utf-8")
    with pytest.raises(decisions.FaultyRecord, match="its status"):
        decisions.render(tmp_path)
    (folder / "0001-a-title.md").write_text(f"{head}- Status: accepted\n\n## Context\n", encoding="utf-8")
    with pytest.raises(decisions.FaultyRecord, match="no section Decision"):
        decisions.render(tmp_path)


def test_a_table_of_an_unknown_model_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- fields: Nothing -->\n\n<!-- end -->\n", encoding="utf-8")
    with pytest.raises(fields.UndescribedField, match="Nothing is no body"):
        fields.render(page)


def test_every_field_of_the_native_routes_has_a_description() -> None:
    """`render` raises for a field without one."""
    names = {name for route in TASKS.values() for name in (route.body.__name__, route.reply.__name__)}
    for name in sorted(names):
        assert fields.table(name)
