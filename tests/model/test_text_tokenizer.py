import json
import subprocess
import sys
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.text_tokenizer import MAX_CHARACTERS, TextError, TextTokenizer, VocabularyError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tokenizer(tiny_v1) -> TextTokenizer:
    return TextTokenizer(tiny_v1 / "bpe.model")


@pytest.mark.parametrize("fixture", ["tiny_v1", "tiny_v2"])
def test_ids_and_texts_equal_the_reference(fixture, request):
    folder = request.getfixturevalue(fixture)
    tokenizer = TextTokenizer(folder / "bpe.model", normalization="none")
    for case in json.loads((folder / "expected.json").read_text(encoding="utf-8"))["tokenize"]:
        wrapped = [2, *tokenizer.encode(case["text"]), 3] + [0] * 16
        assert wrapped[:16] == case["wrapped_l"]
        assert tokenizer.decode(case["ids"]) == case["decoded"]


def test_vocabulary_size_is_the_files(tokenizer):
    assert tokenizer.vocab_size == 168


def test_case_and_outer_spaces_do_not_matter(tokenizer):
    assert tokenizer.encode("  Красный КРУГ\n") == tokenizer.encode("красный круг")


def test_texts_that_look_the_same_are_encoded_the_same(tokenizer):
    assert tokenizer.encode("красный\u00a0кру\u0301г\u200b") == tokenizer.encode("красный круг")
    assert tokenizer.encode(normalize("NFD", "жёлтый мяч")) == tokenizer.encode("жёлтый мяч")
    assert tokenizer.encode("желтый") != tokenizer.encode("жёлтый")


def test_the_packages_own_reading_is_kept_on_request(tiny_v1):
    plain = TextTokenizer(tiny_v1 / "bpe.model", normalization="none")
    assert plain.encode("красный\u00a0круг") != plain.encode("красный круг")


def test_letters_that_the_vocabulary_lacks_are_found_once_and_in_order(tokenizer):
    assert tokenizer.unknown_letters("Круг, круг; XX\u200b 😀") == ",;x😀"
    assert tokenizer.unknown_letters("Красный КРУГ") == ""


def test_line_ends_count_as_spaces(tokenizer):
    assert tokenizer.encode("красный\r\n\tкруг") == tokenizer.encode("красный круг")


def test_known_words_survive_the_round_trip(tokenizer):
    text = "большой жёлтый мяч под дождём"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_ids_outside_the_vocabulary_are_left_out_of_texts(tokenizer):
    ids = tokenizer.encode("красный круг")
    strays = [0, 1, 2, 3, 168, 170, 16384, 2**31, 2**40, -1]
    assert tokenizer.decode([*strays[:5], *ids, *strays[5:]]) == "красный круг"
    assert tokenizer.decode(strays) == ""
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "\0", "кот\0пёс", "\ufeff", "\u2028", "▁▁", "😀🦌", "\U0010ffff"]
)
def test_odd_texts_are_encoded(tokenizer, text):
    ids = tokenizer.encode(text)
    assert all(0 <= index < tokenizer.vocab_size for index in ids)


def test_half_a_surrogate_pair_is_refused(tokenizer):
    with pytest.raises(TextError, match="surrogate"):
        tokenizer.encode("кот \ud83d")


def test_very_long_words_are_encoded_and_longer_texts_refused(tokenizer):
    assert tokenizer.encode("кот" * (MAX_CHARACTERS // 3))
    with pytest.raises(TextError, match="characters"):
        tokenizer.encode("к" * (MAX_CHARACTERS + 1))


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_gives_ids_of_the_vocabulary_and_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert all(0 <= index < tokenizer.vocab_size for index in ids)
    assert isinstance(tokenizer.decode(ids), str)


def rewritten(tiny_v1, tmp_path, change):
    path = tmp_path / "bpe.model"
    path.write_text(change((tiny_v1 / "bpe.model").read_text()))
    return path


def with_rule(text, index, rule):
    """The file with another rule at `index`; it has 30 characters and 134 rules."""
    lines = text.splitlines()
    lines[31 + index] = rule
    return "\n".join(lines) + "\n"


def doubling(text):
    """Each rule joins the token of the rule before it with itself."""
    for index in range(134):
        before = 4 if index == 0 else 33 + index
        text = with_rule(text, index, f"{before} {before} {34 + index}")
    return text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "not a YouTokenToMe"),
        (lambda text: "hello\n", "not a YouTokenToMe"),
        (lambda text: text[: len(text) // 2], "truncated|not a YouTokenToMe"),
        (lambda text: text.rsplit("\n", 10)[0] + "\n", "truncated"),
        (lambda text: text.rstrip().rsplit("\n", 1)[0] + "\n0 1 2 3\n", "special ids"),
        (lambda text: text.replace("30 134", "30 133"), "truncated"),
        (lambda text: text.replace("9601 4\n", "9602 4\n"), "no character for the space"),
        (lambda text: text.replace("9601 4\n", "55296 4\n"), "no character"),
        (lambda text: text.replace("9601 4\n", "1114112 4\n"), "no character"),
        (lambda text: text.replace("9601 4\n", "0 4\n"), "no character"),
        (lambda text: text.replace("9601 4\n", "9601 3\n"), "ids of the characters"),
        (lambda text: text.replace("9601 4\n", "9601 5\n"), "ids of the characters"),
        (lambda text: with_rule(text, 0, "4 4 33"), "instead of 34"),
        (lambda text: with_rule(text, 0, "4 34 34"), "not before it"),
        (lambda text: with_rule(text, 0, "3 4 34"), "not before it"),
        (lambda text: with_rule(text, 0, "99999 4 34"), "not before it"),
        (lambda text: with_rule(with_rule(text, 0, "4 5 34"), 1, "4 5 35"), "rule is in it twice"),
        (doubling, "more than 1000 characters"),
        (lambda text: text.replace(" ", "\t"), "not a YouTokenToMe"),
        (lambda text: text.replace("30 134", "+30 134"), "not a YouTokenToMe"),
        (lambda text: text.replace("30 134", "3_0 134"), "not a YouTokenToMe"),
        (lambda text: text.replace("30 134", "30 134\x1c"), "not a YouTokenToMe"),
        (lambda text: text.replace("9601 4\n", "\u0669601 4\n"), "not a YouTokenToMe"),
    ],
)
def test_damaged_vocabularies_are_refused(tiny_v1, tmp_path, change, message):
    with pytest.raises(VocabularyError, match=message):
        TextTokenizer(rewritten(tiny_v1, tmp_path, change))


def test_a_file_larger_than_a_vocabulary_is_refused(tiny_v1, tmp_path):
    path = tmp_path / "bpe.model"
    with path.open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(VocabularyError, match="larger than"):
        TextTokenizer(path)


@pytest.mark.parametrize("model", ["tests/fixtures/tiny-v2/bpe.model", "checkpoints/demo/bpe.model"])
def test_the_library_survives_every_vocabulary_that_is_accepted(model):
    """The short form of `python -m tests.model.vocabulary_fuzzer FILE 10000 1`."""
    command = [sys.executable, "-m", "tests.model.vocabulary_fuzzer", str(ROOT / model), "400", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    accepted = int(ran.stdout.split()[1].rstrip(","))
    assert 0 < accepted < 200


def test_binary_or_missing_vocabularies_are_refused(tiny_v1, tmp_path):
    with pytest.raises(VocabularyError, match="not a YouTokenToMe"):
        TextTokenizer(tiny_v1 / "picture0.png")
    with pytest.raises(VocabularyError, match="cannot be read"):
        TextTokenizer(tmp_path / "absent.model")
