"""Texts and words as sparse vectors: TF-IDF of words and letters for whole texts, windows around words for slots.

Vocabularies are plain strings in a fixed order, so that they can be stored as JSON. Learning weights is training's
part, answering is `modeling.linear`'s.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

LETTERS = (2, 4)
"""Lengths of the letter n-grams; with 5 MASSIVE's dev score is no better and the vocabulary a third larger."""
MAX_TERMS = 200_000
"""Of each kind (words, letters, windows), those of most texts or words are kept. It bounds a bundle; the number is
arbitrary. It keeps all of MASSIVE's and a quarter of stripped 20 Newsgroups', where all gave at most 0.2 points more on
dev. Rare terms matter in short texts: without MASSIVE's window terms of one word, dev's slot F1 falls by 0.8 points."""
START, END = "<s>", "</s>"
_WORD = re.compile(r"\w+")


def word_terms(text: str) -> list[str]:
    """The words of a text and its pairs of neighbours, lower-cased; the text's ends count as neighbours.

    How a command begins says much about its intent: with the ends MASSIVE gains half a point of accuracy (measured by
    cross-validation on train).
    """
    words = _WORD.findall(text.lower())
    return words + [f"{left} {right}" for left, right in pairwise([START, *words, END])]


def window_terms(words: Sequence[str]) -> list[list[str]]:
    """What a tagger sees of each word: itself, its shape, its ends, and its neighbours up to two words away."""
    lower = [word.lower() for word in words]
    padded = [START, START, *lower, END, END]
    return [_window(word, padded[index : index + 5]) for index, word in enumerate(words)]


def _window(word: str, around: Sequence[str]) -> list[str]:
    before2, before, here, after, after2 = around
    terms = [f"{offset}={neighbour}" for offset, neighbour in zip(range(-2, 3), around, strict=True)]
    terms += [f"-2,-1={before2} {before}", f"-1,0={before} {here}", f"0,1={here} {after}", f"1,2={after} {after2}"]
    terms += [f"-1,1={before} {after}", f"shape={word_shape(word)}"]
    terms += [f"begins={here[:length]}" for length in range(1, min(len(here), 4) + 1)]
    terms += [f"ends={here[-length:]}" for length in range(1, min(len(here), 4) + 1)]
    for offset, neighbour in ((-1, before), (1, after)):
        terms += [f"{offset} begins={neighbour[:3]}", f"{offset} ends={neighbour[-3:]}"]
    return terms


def word_shape(word: str) -> str:
    """Capitals as X, small letters as x, digits as 0, runs cut to two: `McDonald's` is `XxXxx'x`."""
    shape = "".join(
        "X" if sign.isupper() else "x" if sign.isalpha() else "0" if sign.isdigit() else sign for sign in word
    )
    return re.sub(r"(.)\1+", r"\1\1", shape)


@dataclass(frozen=True)
class TextFeatures:
    """TF-IDF of whole texts: sublinear term counts times idf, words and letters each scaled to length 1.

    Attributes:
        words: the terms of `word_terms` that are known; their columns come first.
        letters: the n-grams within words (a word's ends count as a blank), as scikit-learn's `char_wb` gives them.
        idf: (words + letters,) float32.
    """

    words: tuple[str, ...]
    letters: tuple[str, ...]
    idf: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.words) + len(self.letters)

    def transform(self, texts: Sequence[str]) -> Any:
        """(texts, features) CSR float32; a text without a known term is a row of zeros."""
        return self.weigh(self._word_counter.transform(texts), _count_letters(texts, counter=self._letter_counter))

    def weigh(self, words: Any, letters: Any) -> Any:
        """Term counts, (texts, words) and (texts, letters), as the vectors of `transform`."""
        idf_words, idf_letters = self.idf[: len(self.words)], self.idf[len(self.words) :]
        return hstack([_tf_idf(words, idf_words), _tf_idf(letters, idf_letters)], format="csr", dtype=np.float32)

    @cached_property
    def _word_counter(self) -> Any:
        return _counter(word_terms, terms=self.words)

    @cached_property
    def _letter_counter(self) -> Any:
        return _counter("char_wb", terms=self.letters)


def fit_text_features(texts: Sequence[str]) -> tuple[TextFeatures, Any]:
    """The features of train texts, and the texts' vectors.

    Args:
        texts: at least one word in all of them together.
    """
    words, word_counts = _most_frequent(_counter(word_terms), lambda counter: counter.fit_transform(texts))
    letters, letter_counts = _most_frequent(_counter("char_wb"), lambda counter: _count_letters(texts, counter=counter))
    frequencies = np.concatenate([_document_frequencies(word_counts), _document_frequencies(letter_counts)])
    idf = np.log((1 + len(texts)) / (1 + frequencies)) + 1
    features = TextFeatures(words, letters, idf.astype(np.float32))
    return features, features.weigh(word_counts, letter_counts)


@dataclass(frozen=True)
class WindowFeatures:
    """Words in their surroundings as vectors of ones and zeros.

    Attributes:
        terms: the terms of `window_terms` that are known, in the order of the columns.
    """

    terms: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.terms)

    def transform(self, texts: Sequence[Sequence[str]]) -> Any:
        """(words of all texts, features) CSR float32.

        Args:
            texts: the words of each text.
        """
        return self._counter.transform(chain.from_iterable(map(window_terms, texts)))

    @cached_property
    def _counter(self) -> Any:
        return _counter(list, terms=self.terms)


def fit_window_features(texts: Sequence[Sequence[str]]) -> WindowFeatures:
    """The features of the words of train texts: the `MAX_TERMS` terms of most words."""
    frequencies = Counter(term for text in texts for window in window_terms(text) for term in set(window))
    ranked = sorted(frequencies, key=lambda term: (-frequencies[term], term))
    return WindowFeatures(tuple(sorted(ranked[:MAX_TERMS])))


def _counter(analyzer: Any, *, terms: Sequence[str] | None = None) -> Any:
    vocabulary = None if terms is None else {term: column for column, term in enumerate(terms)}
    lengths = LETTERS if analyzer == "char_wb" else (1, 1)
    return CountVectorizer(analyzer=analyzer, ngram_range=lengths, vocabulary=vocabulary, dtype=np.float32)


def _count_letters(texts: Sequence[str], *, counter: Any) -> Any:
    """Counts of letter n-grams, (texts, n-grams): each distinct word is cut up once, which is what makes it fast."""
    words = [text.lower().split() for text in texts]
    columns: dict[str, int] = {}
    indices = [columns.setdefault(word, len(columns)) for word in chain.from_iterable(words)]
    ends = np.cumsum([0, *map(len, words)])
    shape = (len(texts), len(columns))
    occurrences = csr_matrix((np.ones(len(indices), np.float32), indices, ends), shape=shape)
    count = counter.transform if counter.vocabulary is not None else counter.fit_transform
    return occurrences @ count(list(columns))


def _most_frequent(counter: Any, count: Any) -> tuple[tuple[str, ...], Any]:
    """The terms of most texts, `MAX_TERMS` at most, in alphabetical order; and their counts."""
    counts = count(counter)
    ranked = np.argsort(-_document_frequencies(counts), kind="stable")
    kept = np.sort(ranked[:MAX_TERMS])
    terms = counter.get_feature_names_out()
    return tuple(str(terms[column]) for column in kept), counts[:, kept]


def _document_frequencies(counts: Any) -> NDArray[np.int64]:
    return np.bincount(counts.tocsr().indices, minlength=counts.shape[1])


def _tf_idf(counts: Any, idf: NDArray[np.float32]) -> Any:
    weighed = counts.tocsr().copy()
    weighed.sort_indices()
    weighed.data = ((1 + np.log(weighed.data)) * idf[weighed.indices]).astype(np.float32)
    return normalize(weighed, copy=False) if weighed.shape[0] else weighed  # normalize refuses a matrix without rows
