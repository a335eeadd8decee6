"""The text checks of `make lint` find a fault of each kind, and accept the text beside it."""

import pytest

from scripts.lint.circles import check_circles
from scripts.lint.paths import check_docstrings, check_document, check_tests_are_unnamed
from scripts.lint.words import check_sentences, check_words

LONG = " ".join(["word"] * 31)


def findings(check, folder, name, text):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return [(finding.line, finding.message) for finding in check(folder, name)]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.py", '"""First.\n\nWhoever reads it."""\n', 3),
        ("a.py", 'x = 1\n"""The second half, behind\nthe first."""\n', 2),
        ("a.py", "x = 1\n# As it is by\n# itself.\n", 2),
        ("a.py", 'raise ValueError(f"the {x} stands there")\n', 1),
        ("a.lua", "local a = 1\n-- nobody reads this\n", 2),
        ("a.c", "int a;\n/* One\n * that nobody\n * reads. */\n", 3),
        ("a.sh", "true\n# nobody runs this\n", 2),
        ("a.yml", "a: 1  # whatever it is\n", 1),
        ("a.md", "Text.\n\nA file that lies here.\n", 3),
        ("a.html", "<p>\nNobody.</p>\n", 2),
    ],
)
def test_a_banned_word_is_found_in_its_line(tmp_path, name, text, line):
    assert [number for number, _ in findings(check_words, tmp_path, name, text)] == [line]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", '"""Runs behind a reverse proxy."""\n'),
        ("a.py", '"""Calls `nobody()`, which stands for the user 65534."""\n'),
        ("a.py", 'user = "nobody"\n'),
        ("tests/a.py", 'assert text == "what nobody reads"\n'),
        ("a.md", "Run it:\n\n```\nsu nobody\n```\n"),
        ("a.c", "int behind;\n"),
    ],
)
def test_names_code_and_right_senses_are_accepted(tmp_path, name, text):
    assert findings(check_words, tmp_path, name, text) == []


def test_a_docstring_sentence_over_thirty_words_is_found(tmp_path):
    text = f'def f():\n    """Short.\n\n    {LONG}.\n    """\n'
    ((line, message),) = findings(check_sentences, tmp_path, "a.py", text)
    assert line in {2, 3, 4}
    assert "31 words" in message


def test_paragraphs_items_and_full_stops_end_a_sentence(tmp_path):
    half = " ".join(["word"] * 20)
    for joint in (". ", "\n\n", "\n- ", ":\n"):
        assert findings(check_sentences, tmp_path, "a.py", f'"""{half}{joint}{half}."""\n') == []


@pytest.mark.parametrize("text", ["See `app/none.py`.", "See `none.py`.", "See [it](none.md).", "`a/b.lua`"])
def test_a_path_that_does_not_exist_is_found(tmp_path, text):
    ((line, _),) = findings(check_document, tmp_path, "a.md", f"Title\n\n{text}\n")
    assert line == 3


def test_paths_that_exist_are_accepted(tmp_path):
    text = "`scripts/lint`, `lint/paths.py`, `paths.py`, `*.toml`, `/v1/jobs`, `ai-forever/x`, [a](a.md#top)"
    assert findings(check_document, tmp_path, "a.md", text) == []


def test_a_docstring_that_names_a_missing_file_is_found(tmp_path):
    assert findings(check_docstrings, tmp_path, "a.py", '"""See `scripts/none.py`."""\n')
    assert findings(check_docstrings, tmp_path, "b.py", '"""See `scripts/lint`, `text/none`."""\n') == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cli/a.py", 'x = root / "tests" / "fixtures"\n'),
        ("cli/a.py", 'x = "./tests/fixtures"\n'),
        ("compose.yml", "- ./tests/fixtures:/model\n"),
        ("Dockerfile", "COPY tests/fixtures /model\n"),
    ],
)
def test_product_code_and_manifests_do_not_name_the_tests(tmp_path, name, text):
    assert findings(check_tests_are_unnamed, tmp_path, name, text)


def test_a_docstring_and_a_plain_word_may_name_the_tests(tmp_path):
    text = '"""Run `tests/app`."""\nx = "of the tests"\n'
    assert findings(check_tests_are_unnamed, tmp_path, "cli/a.py", text) == []


def test_imports_for_types_close_a_circle_too(tmp_path, monkeypatch):
    package = tmp_path / "circular"
    package.mkdir()
    (package / "__init__.py").write_text('"""A package."""\n')
    (package / "a.py").write_text("from circular import b\n")
    (package / "b.py").write_text(
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from circular import a\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("scripts.lint.circles.PACKAGES", ("circular",))
    (finding,) = check_circles(tmp_path)
    assert finding.path == "circular/a.py"
    assert "circular.a → circular.b → circular.a" in finding.message
