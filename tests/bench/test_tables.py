"""Documents quote the kept figures and nothing else."""

import pytest

from bench import tables

QUOTED = tables.quoted()


@pytest.mark.parametrize(
    "place", range(len(QUOTED)), ids=[f"{table.document.name}-{table.name}" for table in QUOTED]
)
def test_document_says_what_was_measured(place: int) -> None:
    table = QUOTED[place]
    text = table.document.read_text(encoding="utf-8")
    assert tables.replaced(text, table.name, table.cells, table.note) == text, "run: python -m bench tables"


def test_a_table_says_when_and_how_it_was_measured() -> None:
    (readme,) = [table for table in QUOTED if table.document.name == "README.md"]
    assert readme.note.startswith("Measured on 20")
    assert readme.note.endswith(": `python -m bench`.")
    text = tables.replaced("<!-- speed -->\n<!-- end -->", "speed", [["a"], ["1"]], readme.note)
    assert text == f"<!-- speed -->\n| a |\n| --- |\n| 1 |\n\n{readme.note}\n<!-- end -->"


def test_a_document_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no marks of speed"):
        tables.replaced("no table here", "speed", [["a"], ["1"]])


def test_a_table_is_put_between_its_marks_and_nowhere_else() -> None:
    text = "before\n<!-- speed -->\nold\n<!-- end -->\nbehind\n<!-- other -->\nold\n<!-- end -->\n"
    put = tables.replaced(text, "speed", [["name", "value"], ["step", "1 ms"]])
    wanted = "| name | value |\n| --- | ---: |\n| step | 1 ms |"
    assert put == text.replace("old", wanted, 1)
