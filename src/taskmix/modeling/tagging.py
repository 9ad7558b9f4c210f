"""From the scores of BIO tags, word by word, to the labelled spans of a text: the best sequence that BIO allows.

Taking each word's best tag by itself lets spans break in two (an I- after an O); the best sequence as a whole does not,
and scores better. Shared by every model that tags words. `tags` everywhere are those of `LabelSpace.tags`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from taskmix.data.schema import LabelSpace, tags_to_spans
from taskmix.modeling.answers import SlotsAnswer

OUTSIDE = 0
"""The tag `O` as an index into `LabelSpace.tags`."""


@cache
def allowed_transitions(labels: LabelSpace) -> NDArray[np.bool_]:
    """Where BIO lets a tag follow another, (tags + 1, tags): an I- only goes on with a span of its slot.

    The last row is for first words.
    """
    size = len(labels.tags)
    allowed = np.ones((size + 1, size), np.bool_)
    for inside in range(2, size, 2):  # tag 1 + 2i begins slot i, tag 2 + 2i goes on with it
        allowed[:, inside] = False
        allowed[[inside - 1, inside], inside] = True
    allowed.setflags(write=False)  # one array serves every caller
    return allowed


def best_path(scores_WG: NDArray[np.float32], *, transitions: NDArray[np.float32]) -> NDArray[np.int64]:
    """The tags whose scores and transitions add up to the most (Viterbi 1967); exact.

    Args:
        scores_WG: (words, tags) of one text: margins, logits or log-probabilities.
        transitions: (tags + 1, tags): what a tag after another adds, -inf where BIO forbids it; the last row is for
            first words.

    Returns:
        (words,) int64, one tag a word.
    """
    words, tags = scores_WG.shape
    path = np.zeros(words, np.int64)
    if not words:
        return path
    came_from = np.zeros((words, tags), np.int64)
    best = scores_WG[0] + transitions[tags]
    for word in range(1, words):
        through = best[:, None] + transitions[:tags]
        came_from[word] = through.argmax(axis=0)
        best = through.max(axis=0) + scores_WG[word]
    path[-1] = best.argmax()
    for word in range(words - 1, 0, -1):
        path[word - 1] = came_from[word, path[word]]
    return path


def best_tags(scores_WG: NDArray[np.float32], *, labels: LabelSpace) -> NDArray[np.int64]:
    """The best sequence of tags that BIO allows, (words,) int64, of (words, tags) logits or log-probabilities.

    Where each word's best tag makes an allowed sequence, that is the best one, and no search is needed.
    """
    greedy: NDArray[np.int64] = scores_WG.argmax(axis=-1)
    allowed = allowed_transitions(labels)
    before = np.concatenate([[len(allowed) - 1], greedy[:-1]])
    if allowed[before, greedy].all():
        return greedy
    return bio_path(scores_WG)


def bio_path(scores_WG: NDArray[np.float32]) -> NDArray[np.int64]:
    """The best sequence of tags that BIO allows, always searched for: (words,) int64 of (words, tags) scores.

    What `best_path` finds where transitions add nothing but BIO's rule, in tags instead of tags squared a word: any tag
    may stand before an O or a B-, so before them stands the best of all, and before an I- one of its own slot's two.
    """
    words, tags = scores_WG.shape
    path = np.zeros(words, np.int64)
    if not words:
        return path
    begins = np.arange(1, tags, 2)
    came_from = np.empty((words, tags), np.int64)
    best = scores_WG[0].copy()
    best[2::2] = -np.inf  # no text begins with an I-
    for word in range(1, words):
        begun, inside, top = best[1::2], best[2::2], best.argmax()
        came_from[word] = top
        came_from[word, 2::2] = begins + (inside > begun)
        further = np.maximum(begun, inside)
        best = best[top] + scores_WG[word]
        best[2::2] = further + scores_WG[word, 2::2]
    path[-1] = best.argmax()
    for word in range(words - 1, 0, -1):
        path[word - 1] = came_from[word, path[word]]
    return path


def read_spans(path_W: NDArray[np.int64], probabilities_WG: NDArray[np.float64], *, labels: LabelSpace) -> SlotsAnswer:
    """The answer that a sequence of tags is.

    Args:
        path_W: (words,) the tags.
        probabilities_WG: (words, tags) calibrated; a span's is the least of its words' tags'.
        labels: the slots.
    """
    tags = labels.tags
    spans = tags_to_spans([tags[tag] for tag in path_W])
    sure_W = probabilities_WG[np.arange(len(path_W)), path_W]
    return SlotsAnswer(tuple(spans), tuple(float(sure_W[span.start : span.end].min()) for span in spans))
