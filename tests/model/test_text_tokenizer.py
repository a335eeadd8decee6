import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.text_tokenizer import MAX_CHARACTERS, TextError, TextTokenizer, VocabularyError


@pytest.fixture(scope="module")
def tokenizer(tiny_v1) -> TextTokenizer:
    return TextTokenizer(tiny_v1 / "bpe.model")


@pytest.mark.parametrize("fixture", ["tiny_v1", "tiny_v2"])
def test_ids_and_texts_equal_the_reference(fixture, request):
    folder = request.getfixturevalue(fixture)
    tokenizer = TextTokenizer(folder / "bpe.model")
    for case in json.loads((folder / "expected.json").read_text(encoding="utf-8"))["tokenize"]:
        wrapped = [2, *tokenizer.encode(case["text"]), 3] + [0] * 16
        assert wrapped[:16] == case["wrapped_l"]
        assert tokenizer.decode(case["ids"]) == case["decoded"]


def test_vocabulary_size_is_the_files(tokenizer):
    assert tokenizer.vocab_size == 168


def test_case_and_outer_spaces_do_not_matter(tokenizer):
    assert tokenizer.encode("  Красный КРУГ\n") == tokenizer.encode("красный круг")


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "no YouTokenToMe"),
        (lambda text: "hello\n", "no YouTokenToMe"),
        (lambda text: text[: len(text) // 2], "cut short|no YouTokenToMe"),
        (lambda text: text.rsplit("\n", 10)[0] + "\n", "cut short"),
        (lambda text: text.rstrip().rsplit("\n", 1)[0] + "\n0 1 2 3\n", "special ids"),
        (lambda text: text.replace("30 134", "30 133"), "cut short"),
    ],
)
def test_damaged_vocabularies_are_refused(tiny_v1, tmp_path, change, message):
    with pytest.raises(VocabularyError, match=message):
        TextTokenizer(rewritten(tiny_v1, tmp_path, change))


def test_binary_or_missing_vocabularies_are_refused(tiny_v1, tmp_path):
    with pytest.raises(VocabularyError, match="no YouTokenToMe"):
        TextTokenizer(tiny_v1 / "picture0.png")
    with pytest.raises(VocabularyError, match="cannot be read"):
        TextTokenizer(tmp_path / "absent.model")
