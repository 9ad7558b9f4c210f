import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from taskmix.modeling.linear_features import (
    LETTERS,
    fit_text_features,
    fit_window_features,
    window_terms,
    word_shape,
    word_terms,
)

TEXTS = ["Wake me at nine", "wake me, please!", "What's the weather in São Paulo?", "", "play play PLAY some jazz"]


def test_features_are_those_of_scikit_learns_own_tf_idf() -> None:
    words = TfidfVectorizer(analyzer=word_terms, sublinear_tf=True)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=LETTERS, sublinear_tf=True)
    expected = hstack([words.fit_transform(TEXTS), letters.fit_transform(TEXTS)])
    features, matrix = fit_text_features(TEXTS)
    assert features.words == tuple(words.get_feature_names_out())
    assert features.letters == tuple(letters.get_feature_names_out())
    np.testing.assert_allclose(matrix.toarray(), expected.toarray(), atol=1e-6)
    unseen = ["wake up at nine", "jazz in Paris"]
    expected = hstack([words.transform(unseen), letters.transform(unseen)])
    np.testing.assert_allclose(features.transform(unseen).toarray(), expected.toarray(), atol=1e-6)


def test_train_texts_have_the_same_vectors_when_they_come_again() -> None:
    features, matrix = fit_text_features(TEXTS)
    np.testing.assert_array_equal(features.transform(TEXTS).toarray(), matrix.toarray())


def test_text_without_a_known_term_is_a_row_of_zeros() -> None:
    features, _ = fit_text_features(["wake me", "play jazz"])
    assert features.transform(["", "  \n", "ß 終"]).nnz == 0


def test_no_texts_give_no_rows() -> None:
    features, _ = fit_text_features(TEXTS)
    assert features.transform([]).shape == (0, len(features))
    assert fit_window_features([["wake", "me"]]).transform([]).shape[0] == 0


def test_the_ends_of_a_text_are_neighbours_of_its_words() -> None:
    assert word_terms("Wake me") == ["wake", "me", "<s> wake", "wake me", "me </s>"]


def test_window_tells_a_word_and_its_neighbours() -> None:
    first, second = window_terms(["Near", "Paris"])
    assert {"0=near", "1=paris", "-1=<s>", "0,1=near paris", "shape=Xxx", "begins=ne", "ends=ar"} <= set(first)
    assert {"0=paris", "-1=near", "1=</s>", "-1 begins=nea", "-1 ends=ear"} <= set(second)


@pytest.mark.parametrize(
    ("word", "shape"), [("McDonald's", "XxXxx'x"), ("2026", "00"), ("7am", "0xx"), ("NASA", "XX"), ("ß", "x")]
)
def test_shape_of_a_word(word: str, shape: str) -> None:
    assert word_shape(word) == shape


def test_window_features_are_the_terms_met_in_train() -> None:
    features = fit_window_features([["go", "home"], ["go", "away"]])
    assert {"0=go", "0=home", "0=away", "-1=go"} <= set(features.terms)
    matrix = features.transform([["go", "elsewhere"], ["home"]])
    assert matrix.shape == (3, len(features))
    columns = [features.terms.index(term) for term in ("0=go", "-1=go", "0=home")]
    np.testing.assert_array_equal(matrix[:, columns].toarray(), [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
