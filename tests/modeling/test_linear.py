from pathlib import Path

import numpy as np
import pytest

from taskmix.errors import BundleError, UnknownTask
from taskmix.modeling.answers import Answer, ClassificationAnswer, SlotsAnswer
from taskmix.modeling.bundle import BundleCard, load_model, write_card
from taskmix.modeling.linear import LinearClassifier, LinearScores, LinearWeights, load_linear
from taskmix.modeling.linear_features import fit_text_features, fit_window_features

TEXTS = ["wake me at nine", "wake us at ten", "play some jazz", "play the news", "what is the time in paris"]
CARD = BundleCard.model_validate(
    {
        "kind": "linear",
        "job": {
            "model_name": "svm",
            "seed": 1,
            "model": {"kind": "linear"},
            "tasks": {
                "intent": {"type": "classification", "dataset": "words", "label": "intent"},
                "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
            },
        },
        "heads": {
            "intent": {"type": "classification", "labels": ["alarm", "music", "clock"]},
            "slots": {"type": "slot_filling", "labels": ["time", "place"]},
        },
        "temperatures": {"intent": 0.3, "slots": 0.5},
        "rejection_thresholds": {"intent": 0.4},
        "training": {"seconds": 0, "epochs": 0, "parameters": 0},
        "versions": {},
    }
)


def random_weights(card: BundleCard = CARD, *, seed: int = 5) -> LinearWeights:
    random = np.random.default_rng(seed)
    text, _ = fit_text_features(TEXTS)
    windows = fit_window_features([text.split() for text in TEXTS])

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    transitions = draw(6, 5)
    transitions[:, [2, 4]] = -np.inf
    transitions[[1, 2], 2] = transitions[[3, 4], 4] = 0
    scores = {
        "intent": LinearScores(draw(len(text), 3), draw(3)),
        "slots": LinearScores(draw(len(windows), 5), draw(5)),
    }
    return LinearWeights(text, windows, scores, {"slots": transitions})


def assert_same(left: Answer, right: Answer) -> None:
    if isinstance(left, SlotsAnswer):
        assert left == right
    else:
        assert isinstance(right, ClassificationAnswer)
        assert (left.label, left.probability) == (right.label, right.probability)
        np.testing.assert_array_equal(left.probabilities, right.probabilities)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    random_weights().save(tmp_path)
    write_card(CARD, tmp_path)
    return tmp_path


def test_loaded_model_answers_exactly_as_the_saved_one(bundle: Path) -> None:
    texts = [*TEXTS, "", "wake the jazz in London at 9"]
    before = LinearClassifier(random_weights(), card=CARD).predict(texts)
    after = load_model(bundle).predict(texts)
    for left, right in zip(before, after, strict=True):
        assert list(left) == list(right) == ["intent", "slots"]
        assert_same(left["intent"], right["intent"])
        assert_same(left["slots"], right["slots"])


def test_bundle_is_json_and_safetensors(bundle: Path) -> None:
    assert {path.name for path in bundle.iterdir()} == {"bundle.json", "linear.safetensors", "vocabulary.json"}


def test_an_answer_does_not_depend_on_its_neighbours() -> None:
    model = LinearClassifier(random_weights(), card=CARD)
    together = model.predict(TEXTS)
    for text, answer in zip(TEXTS, together, strict=True):
        (alone,) = model.predict([text])
        assert_same(answer["intent"], alone["intent"])
        assert_same(answer["slots"], alone["slots"])


def test_probabilities_sum_to_one_and_the_label_is_the_most_probable() -> None:
    for answers in LinearClassifier(random_weights(), card=CARD).predict(TEXTS, tasks=["intent"]):
        answer = answers["intent"]
        assert isinstance(answer, ClassificationAnswer)
        assert answer.probabilities.dtype == np.float32
        assert answer.probabilities.sum() == pytest.approx(1, abs=1e-6)
        assert answer.label == CARD.heads["intent"].labels[int(answer.probabilities.argmax())]
        assert answer.probability == pytest.approx(float(answer.probabilities.max()))


def test_spans_lie_within_the_text_with_one_probability_each() -> None:
    for text, answers in zip(TEXTS, LinearClassifier(random_weights(), card=CARD).predict(TEXTS), strict=True):
        slots = answers["slots"]
        assert isinstance(slots, SlotsAnswer)
        assert len(slots.spans) == len(slots.probabilities)
        assert all(0 <= span.start < span.end <= len(text.split()) for span in slots.spans)
        assert all(0 < probability <= 1 for probability in slots.probabilities)


def test_empty_texts_get_an_intent_and_no_slots() -> None:
    for answers in LinearClassifier(random_weights(), card=CARD).predict(["", " \n\t"]):
        assert isinstance(answers["intent"], ClassificationAnswer)
        assert answers["slots"] == SlotsAnswer((), ())


def test_no_texts_get_no_answers() -> None:
    assert LinearClassifier(random_weights(), card=CARD).predict([]) == []


def test_tasks_are_answered_in_the_order_asked() -> None:
    model = LinearClassifier(random_weights(), card=CARD)
    assert list(model.predict(["play"], tasks=["slots", "intent"])[0]) == ["slots", "intent"]
    assert list(model.predict(["play"], tasks=["slots"])[0]) == ["slots"]


def test_unknown_task_is_refused_even_without_texts() -> None:
    model = LinearClassifier(random_weights(), card=CARD)
    with pytest.raises(UnknownTask, match=r"task 'topic' is not one of \['intent', 'slots'\]"):
        model.predict([], tasks=["topic"])


@pytest.mark.parametrize("name", ["linear.safetensors", "vocabulary.json"])
def test_bundle_with_a_missing_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: is missing; fetch the bundle again"):
        load_linear(bundle, CARD)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("linear.safetensors", b"no tensors"),
        ("vocabulary.json", b"{"),
        ("vocabulary.json", b"{}"),
        ("vocabulary.json", b"[]"),
        ("vocabulary.json", b'{"words": ["wake"], "letters": [], "windows": ["0=wake"]}'),
        ("vocabulary.json", b'{"words": null, "letters": null, "windows": null}'),
    ],
)
def test_bundle_with_a_damaged_file_is_refused(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match="do not hold the model that the card describes"):
        load_linear(bundle, CARD)


def test_bundle_whose_card_has_more_labels_is_refused(bundle: Path) -> None:
    head = CARD.heads["intent"].model_copy(update={"labels": ("alarm", "music", "clock", "news")})
    card = CARD.model_copy(update={"heads": {**CARD.heads, "intent": head}})
    with pytest.raises(BundleError, match="weights of 'intent'"):
        load_linear(bundle, card)
