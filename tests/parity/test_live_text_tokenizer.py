"""The text tokenizer against the published wrapper, over vocabularies trained here and random texts."""

import itertools

import pytest
import torch
import youtokentome
from hypothesis import given, settings
from hypothesis import strategies as st

from model.text_tokenizer import TextTokenizer
from tests.support.reference import rudalle

ADJECTIVES = ["красный", "синий", "большой", "маленький", "старый", "жёлтый", "пушистый", "деревянный"]
NOUNS = ["круг", "квадрат", "кот", "мяч", "дом", "цветок", "стол", "дождь"]
PLACES = ["на столе", "у моря", "в лесу", "под дождём", "ночью"]
SENTENCES = [" ".join(words) for words in itertools.product(ADJECTIVES, NOUNS, PLACES)]

TEXTS = st.one_of(
    st.lists(st.sampled_from([*ADJECTIVES, *NOUNS, *PLACES, "КОТ", "Ёжик", "42", "—", "\n", "\t"])).map(
        " ".join
    ),
    st.text("абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВЁЯ .,!?-\n0123456789", max_size=80),
    st.text(max_size=40),
)


@pytest.fixture(scope="module", params=[60, 150, 400])
def vocabulary(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bpe")
    corpus, path = folder / "corpus.txt", folder / "bpe.model"
    corpus.write_text("\n".join(SENTENCES), encoding="utf-8")
    youtokentome.BPE.train(str(corpus), str(path), request.param, n_threads=1)
    reference = rudalle().tokenizer.YTTMTokenizerWrapper(youtokentome.BPE(str(path)))
    return TextTokenizer(path, normalization="none"), reference


@given(TEXTS, st.integers(2, 70))
@settings(max_examples=150, deadline=None)
def test_ids_equal_the_published_tokenizers(vocabulary, text, length):
    tokenizer, reference = vocabulary
    expected = reference.encode_text(text.lower().strip(), text_seq_length=length).tolist()
    wrapped = [2, *tokenizer.encode(text), 3]
    assert (wrapped + [0] * length)[:length] == expected


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_texts_equal_the_published_tokenizers(vocabulary, data):
    tokenizer, reference = vocabulary
    assert tokenizer.vocab_size == reference.vocab_size()
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), min_size=1, max_size=70))
    assert tokenizer.decode(ids) == reference.decode_text(torch.tensor([ids]))
