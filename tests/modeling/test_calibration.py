import numpy as np
import pytest

from taskmix.modeling.calibration import TEMPERATURES, fit_rejection_threshold, fit_temperature, softmax


def test_softmax_sums_to_one_and_keeps_the_order() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [1e4, 0.0, -1e4]], dtype=np.float32)
    for temperature in (0.1, 1.0, 7.0):
        probabilities = softmax(logits, temperature=temperature)
        np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, atol=1e-12)
        np.testing.assert_array_equal(probabilities.argmax(axis=-1), logits.argmax(axis=-1))


def test_softmax_matches_its_formula() -> None:
    np.testing.assert_allclose(softmax([0.0, np.log(3.0) * 2], temperature=2.0), [0.25, 0.75])


def test_softmax_gives_no_probability_to_a_hidden_label() -> None:
    np.testing.assert_allclose(softmax([0.0, -np.inf]), [1.0, 0.0])


@pytest.mark.parametrize("true_temperature", [0.2, 1.0, 3.0])
def test_temperature_is_recovered_from_labels_drawn_at_that_temperature(true_temperature: float) -> None:
    random = np.random.default_rng(13)
    logits = random.normal(size=(20_000, 5)) * 2
    probabilities = softmax(logits, temperature=true_temperature)
    gold = (random.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert fit_temperature(logits, gold) == pytest.approx(true_temperature, rel=0.05)


def test_fitted_temperature_makes_gold_no_less_probable() -> None:
    random = np.random.default_rng(13)
    logits = random.normal(size=(500, 4))
    gold = np.where(random.random(500) < 0.7, logits.argmax(axis=1), random.integers(4, size=500))
    temperature = fit_temperature(logits, gold)

    def mean_loss(value: float) -> float:
        return float(-np.log(softmax(logits, temperature=value)[np.arange(500), gold]).mean())

    assert mean_loss(temperature) <= min(mean_loss(value) for value in np.geomspace(0.05, 20, 200)) + 1e-6


def test_temperature_without_examples_is_one() -> None:
    assert fit_temperature(np.zeros((0, 3)), []) == 1.0


def test_temperature_of_answers_all_right_stays_within_its_range() -> None:
    temperature = fit_temperature([[5.0, 0.0], [0.0, 5.0]], [0, 1])
    assert TEMPERATURES[0] <= temperature <= TEMPERATURES[1]


def test_threshold_keeps_the_share_and_no_more() -> None:
    probabilities = np.random.default_rng(13).permutation(np.arange(1, 101) / 100)
    threshold = fit_rejection_threshold(probabilities, keep=0.99)
    assert threshold == 0.02
    assert (probabilities >= threshold).mean() == 0.99


def test_threshold_of_few_answers_keeps_them_all() -> None:
    assert fit_rejection_threshold([0.4, 0.9, 0.7]) == 0.4


def test_threshold_without_a_right_answer_rejects_nothing() -> None:
    assert fit_rejection_threshold([]) == 0.0
