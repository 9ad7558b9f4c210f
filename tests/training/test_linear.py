from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.svm import LinearSVC

from taskmix.config.plan import JobSlice
from taskmix.data.dataset import Dataset, Row
from taskmix.data.schema import LabelSpace, Span
from taskmix.errors import TrainingError
from taskmix.modeling.answers import ClassificationAnswer, SlotsAnswer, TaskHead
from taskmix.modeling.bundle import BundleCard, head_cards, load_model
from taskmix.modeling.linear import LinearClassifier
from taskmix.modeling.scores import accuracy, span_f1
from taskmix.training.job import finetune
from taskmix.training.linear import TrainedLinear, fit_linear
from taskmix.training.linear_slots import allowed_transitions, log_transitions
from taskmix.training.linear_svm import Candidate, fit_svm, search_cost

TASKS = {
    "intent": {"type": "classification", "dataset": "words", "label": "intent"},
    "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
    "mood": {"type": "classification", "dataset": "reviews", "label": "mood"},
}
REVIEWS = [
    Row(f"review-{index}", f"{feeling} film number {index}", {"mood": mood})
    for index, (feeling, mood) in enumerate(
        [("lovely", "good"), ("great", "good"), ("dull", "bad"), ("awful", "bad")] * 6
    )
]


def make_job(*tasks: str, costs: Sequence[float] = (0.1, 1.0), seed: int = 3) -> JobSlice:
    model = {"kind": "linear", "regularization": list(costs)}
    return JobSlice.model_validate(
        {"model_name": "svm", "seed": seed, "model": model, "tasks": {task: TASKS[task] for task in tasks}}
    )


def heads_of(dataset: Dataset, *tasks: str) -> dict[str, TaskHead]:
    return {task: TaskHead(task, TASKS[task]["type"], dataset.label_spaces[task]) for task in tasks}


def head(task: str, *labels: str) -> dict[str, TaskHead]:
    return {task: TaskHead(task, TASKS[task]["type"], LabelSpace(labels))}


def as_model(trained: TrainedLinear, *, job: JobSlice, heads: dict[str, TaskHead]) -> LinearClassifier:
    card = BundleCard(
        kind="linear",
        job=job,
        heads=head_cards(heads),
        temperatures=trained.temperatures,
        rejection_thresholds=trained.rejection_thresholds,
        training=trained.record,
        versions={},
    )
    return LinearClassifier(trained.model, card=card)


@pytest.fixture(scope="module")
def trained(dataset: Dataset) -> TrainedLinear:
    job = make_job("intent", "slots")
    return fit_linear(job, train=dataset.rows("train"), dev=dataset.rows("dev"), heads=heads_of(dataset, *job.tasks))


def test_both_kinds_of_task_are_learnt_from_few_rows(trained: TrainedLinear, dataset: Dataset) -> None:
    heads = heads_of(dataset, "intent", "slots")
    rows = dataset.rows("test")
    answers = as_model(trained, job=make_job(*heads), heads=heads).predict([row.text for row in rows])
    intents: list[Any] = [row.labels["intent"] for row in rows]
    slots: list[Any] = [row.labels["slots"] for row in rows]
    guess = max(set(intents), key=intents.count)
    predicted = [answer["intent"].label for answer in answers if isinstance(answer["intent"], ClassificationAnswer)]
    spans = [answer["slots"].spans for answer in answers if isinstance(answer["slots"], SlotsAnswer)]
    assert accuracy(intents, predicted) > accuracy(intents, [guess] * len(rows)) + 0.3
    assert span_f1(slots, spans) > 0.4


def test_the_same_rows_and_seed_give_the_same_weights(trained: TrainedLinear, dataset: Dataset) -> None:
    job = make_job("intent", "slots")
    again = fit_linear(job, train=dataset.rows("train"), dev=dataset.rows("dev"), heads=heads_of(dataset, *job.tasks))
    assert again.temperatures == trained.temperatures
    assert again.rejection_thresholds == trained.rejection_thresholds
    for name, tensor in trained.model.tensors().items():
        np.testing.assert_array_equal(again.model.tensors()[name], tensor, err_msg=name)


def test_record_tells_every_value_tried_and_its_dev_score(trained: TrainedLinear) -> None:
    settings = [record.setting for record in trained.record.history]
    assert settings[:2] == ["intent: C=0.1", "intent: C=1"]
    assert all(str(setting).startswith("slots: C=") for setting in settings[2:])
    assert all(0 < score <= 1 for record in trained.record.history for score in record.dev_scores.values())
    assert trained.record.parameters == sum(tensor.size for tensor in trained.model.tensors().values())
    assert trained.record.seconds > 0


def test_calibration_is_of_both_tasks_and_rejection_of_classification_alone(trained: TrainedLinear) -> None:
    assert trained.temperatures.keys() == {"intent", "slots"}
    assert trained.rejection_thresholds.keys() == {"intent"}
    assert 0 < trained.rejection_thresholds["intent"] < 1


def test_rows_of_two_datasets_each_lack_the_others_labels(dataset: Dataset) -> None:
    job = make_job("intent", "mood", "slots")
    heads = heads_of(dataset, "intent", "slots") | head("mood", "bad", "good")
    heads = {task: heads[task] for task in job.tasks}
    rows = [*dataset.rows("train"), *REVIEWS]
    trained = fit_linear(job, train=rows, dev=[*dataset.rows("dev"), *REVIEWS[:8]], heads=heads)
    (answer,) = as_model(trained, job=job, heads=heads).predict(["a great film"])
    assert list(answer) == ["intent", "mood", "slots"]
    assert isinstance(answer["mood"], ClassificationAnswer)
    assert answer["mood"].label == "good"


def test_label_that_train_lacks_is_never_answered() -> None:
    heads = head("mood", "bad", "good", "mixed")
    job = make_job("mood")
    dev = [*REVIEWS[:8], Row("odd", "so and so", {"mood": "mixed"}), Row("new", "so what", {"mood": "unheard of"})]
    trained = fit_linear(job, train=REVIEWS, dev=dev, heads=heads)
    answers = as_model(trained, job=job, heads=heads).predict(["so and so", "", "awful film"])
    for answer in (each["mood"] for each in answers):
        assert isinstance(answer, ClassificationAnswer)
        assert answer.label != "mixed"
        assert answer.probabilities[2] < 1e-6
    assert trained.record.history[0].dev_scores["mood"] == pytest.approx(0.8)


def test_job_without_dev_rows_of_a_task_is_left_uncalibrated() -> None:
    trained = fit_linear(make_job("mood"), train=REVIEWS, dev=[], heads=head("mood", "bad", "good"))
    assert trained.temperatures == {"mood": 1.0}
    assert trained.rejection_thresholds == {"mood": 0.0}


def test_slots_with_empty_texts_unknown_slots_and_no_dev_rows_are_learnt() -> None:
    job = make_job("slots")
    heads = head("slots", "time", "place")
    train = [
        Row("1", "wake me at nine", {"slots": (Span(3, 4, "time"),)}),
        Row("2", "wake me at ten please", {"slots": (Span(3, 4, "time"), Span(4, 5, "manners"))}),
        Row("3", "", {"slots": ()}),
    ]
    trained = fit_linear(job, train=train, dev=[], heads=heads)
    answers = as_model(trained, job=job, heads=heads).predict(["wake me at nine", ""])
    assert answers[0]["slots"] == SlotsAnswer((Span(3, 4, "time"),), answers[0]["slots"].probabilities)
    assert answers[1]["slots"] == SlotsAnswer((), ())


def test_texts_without_a_word_cannot_be_learnt_from() -> None:
    rows = [Row("1", "", {"mood": "bad"}), Row("2", " ", {"mood": "good"})]
    with pytest.raises(TrainingError, match=r"job svm\.mood: its 2 train texts hold no word; check"):
        fit_linear(make_job("mood"), train=rows, dev=[], heads=head("mood", "bad", "good"))


def test_labels_outside_the_label_space_cannot_be_learnt_from() -> None:
    with pytest.raises(TrainingError, match=r"none of its 24 train rows has a label of task 'mood' that is one of"):
        fit_linear(make_job("mood"), train=REVIEWS, dev=[], heads=head("mood", "high", "low"))


def test_job_goes_from_dataset_to_a_bundle_that_answers(dataset_uri: str, dataset: Dataset, tmp_path: Path) -> None:
    uri = finetune(make_job("intent", "slots", costs=[1.0]), datasets=[dataset_uri], storage=str(tmp_path))
    model = load_model(Path(uri) / "bundle")
    (answer,) = model.predict([dataset.rows("test")[0].text])
    assert list(answer) == ["intent", "slots"]


@pytest.mark.parametrize("classes", [2, 4])
def test_svm_decides_as_scikit_learns_own(classes: int) -> None:
    random = np.random.default_rng(13)
    features = csr_matrix(random.normal(size=(60, 8)))
    gold = random.integers(classes, size=60)
    scores = fit_svm(features, gold * 2, classes=2 * classes, cost=1.0, seed=7)
    reference = LinearSVC(multi_class="crammer_singer", tol=0.1, random_state=7).fit(features, gold)
    np.testing.assert_array_equal(scores(features).argmax(axis=1), reference.predict(features) * 2)


def test_search_ends_at_the_first_worse_value_and_keeps_the_least_of_the_best() -> None:
    dev_scores = {0.1: 0.5, 0.3: 0.7, 1.0: 0.7, 3.0: 0.6, 10.0: 0.9}
    best, records = search_cost(
        [3.0, 0.1, 10.0, 1.0, 0.3], task="mood", fit=lambda cost: Candidate(cost, dev_scores[cost], f"C={cost:g}")
    )
    assert best == 0.3
    assert [record.setting for record in records] == ["mood: C=0.1", "mood: C=0.3", "mood: C=1", "mood: C=3"]


def test_inside_tags_only_go_on_with_their_own_span() -> None:
    labels = LabelSpace(("time", "place"))
    allowed = allowed_transitions(labels)
    tags = labels.tags
    for before, row in zip([*tags, None], allowed, strict=True):
        for tag, may in zip(tags, row, strict=True):
            assert may == (not tag.startswith("I-") or before in (tag, tag.replace("I-", "B-")))


def test_transitions_are_smoothed_log_probabilities() -> None:
    labels = LabelSpace(("time",))
    table = np.exp(log_transitions([np.array([0, 1, 2]), np.array([], np.int64), np.array([0])], labels=labels))
    np.testing.assert_allclose(table.sum(axis=1), 1)
    np.testing.assert_allclose(table[3], [2.1 / 2.3, 0.1 / 2.3, 0.1 / 2.3])  # both texts with words begin outside
