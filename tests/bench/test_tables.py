"""Documents quote the kept figures and nothing else."""

import pytest

from bench import tables

QUOTED = tables.quoted()


@pytest.mark.parametrize("place", range(len(QUOTED)), ids=[f"{path.name}-{name}" for path, name, _ in QUOTED])
def test_document_says_what_was_measured(place: int) -> None:
    document, name, cells = QUOTED[place]
    text = document.read_text(encoding="utf-8")
    assert tables.replaced(text, name, cells) == text, "run: python -m bench tables"


def test_a_document_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no marks of the table speed"):
        tables.replaced("no table here", "speed", [["a"], ["1"]])


def test_a_table_is_put_between_its_marks_and_nowhere_else() -> None:
    text = "before\n<!-- speed -->\nold\n<!-- end -->\nbehind\n<!-- other -->\nold\n<!-- end -->\n"
    put = tables.replaced(text, "speed", [["name", "value"], ["step", "1 ms"]])
    wanted = "| name | value |\n| --- | ---: |\n| step | 1 ms |"
    assert put == text.replace("old", wanted, 1)
