from itertools import product

import numpy as np

from taskmix.data.schema import LabelSpace, Span
from taskmix.modeling.tagging import OUTSIDE, allowed_transitions, best_path, best_tags, bio_path, read_spans

LABELS = LabelSpace(("time", "place"))
TAGS = LABELS.tags


def allowed(path: tuple[int, ...]) -> bool:
    tags = [TAGS[tag] for tag in path]
    return all(
        not tag.startswith("I-") or before in (f"B-{tag[2:]}", tag)
        for before, tag in zip(["O", *tags], tags, strict=False)
    )


def test_best_path_is_the_best_of_all_paths() -> None:
    random = np.random.default_rng(13)
    for words in range(6):
        scores = random.normal(size=(words, 3)).astype(np.float32)
        transitions = random.normal(size=(4, 3)).astype(np.float32)

        def total(path: tuple[int, ...], scores: np.ndarray = scores, transitions: np.ndarray = transitions) -> float:
            steps = zip((3, *path), path, strict=False)
            return sum(scores[word, tag] for word, tag in enumerate(path)) + sum(transitions[step] for step in steps)

        best = max(product(range(3), repeat=words), key=total)
        assert tuple(best_path(scores, transitions=transitions)) == best


def test_best_tags_are_the_best_of_all_sequences_that_bio_allows() -> None:
    random = np.random.default_rng(13)
    searched = 0
    for _ in range(60):
        scores = random.normal(size=(4, len(TAGS))).astype(np.float32)
        sequences = [path for path in product(range(len(TAGS)), repeat=4) if allowed(path)]
        best = max(sequences, key=lambda path: sum(scores[word, tag] for word, tag in enumerate(path)))
        assert tuple(best_tags(scores, labels=LABELS)) == best
        searched += tuple(scores.argmax(axis=-1)) != best
    assert 0 < searched < 60  # both ways were taken: with a search, and without


def test_the_search_for_bio_finds_what_the_general_one_finds() -> None:
    random = np.random.default_rng(13)
    rule = np.where(allowed_transitions(LABELS), 0.0, -np.inf).astype(np.float32)
    for words in range(1, 30):
        scores = random.normal(size=(words, len(TAGS))).astype(np.float32)
        assert (bio_path(scores) == best_path(scores, transitions=rule)).all()


def test_a_broken_span_is_mended_by_its_neighbours() -> None:
    # Alone, the second word's best tag would begin nothing: an I- after an O.
    scores = np.full((3, len(TAGS)), -5.0, np.float32)
    scores[0, [OUTSIDE, TAGS.index("B-time")]] = 1.0, 0.9
    scores[1, TAGS.index("I-time")] = 3.0
    scores[2, OUTSIDE] = 3.0
    path = best_tags(scores, labels=LABELS)
    assert [TAGS[tag] for tag in path] == ["B-time", "I-time", "O"]
    probabilities = np.full((3, len(TAGS)), 0.1)
    probabilities[0, path[0]], probabilities[1, path[1]] = 0.5, 0.8
    answer = read_spans(path, probabilities, labels=LABELS)
    assert answer.spans == (Span(0, 2, "time"),)
    assert answer.probabilities == (0.5,)


def test_a_text_without_words_has_no_tags() -> None:
    assert best_tags(np.empty((0, len(TAGS)), np.float32), labels=LABELS).shape == (0,)
    assert bio_path(np.empty((0, len(TAGS)), np.float32)).shape == (0,)
    assert best_path(np.empty((0, 3), np.float32), transitions=np.zeros((4, 3), np.float32)).shape == (0,)
