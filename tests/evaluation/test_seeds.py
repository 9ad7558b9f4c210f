"""Several training seeds: scores over them, intervals that hold their spread, and what is compared and deployed."""

from __future__ import annotations

import numpy as np
import pytest

from taskmix import storage
from taskmix.config.plan import make_plan
from taskmix.evaluation.intervals import TWO_LEVEL, Resampled, interval
from taskmix.evaluation.report.model import Report, read_report
from taskmix.evaluation.report.render import render_html, render_markdown
from taskmix.evaluation.seeds import over_seeds, seed_variance

SEEDS = (13, 14, 15)
MARGINS = {"accuracy": 0.03, "span_f1": 0.03}


def normal(value: float, *, scale: float, seed: int, common: int = 0, shared: float = 0.0) -> Resampled:
    """A score whose resamples vary by `scale`, of which `shared` is the same for all that have the same `common`."""
    own = np.random.default_rng([1, seed]).normal(0, scale, 4000)
    everyone = np.random.default_rng([2, common]).normal(0, shared, 4000)
    return Resampled(value, value + own + everyone, {"d": np.ones(3)})


def test_one_seed_is_left_as_it_is():
    score = normal(0.9, scale=0.01, seed=1)
    assert over_seeds([score], stream=[1]) is score


def test_seeds_that_differ_by_no_more_than_other_texts_would_make_them_add_nothing():
    """By hand: values 0.90 and 0.91 have a variance of 0.00005; strays of 0.02 each explain 0.0004 of it."""
    seeds = [normal(0.90, scale=0.02, seed=1), normal(0.91, scale=0.02, seed=2)]
    assert seed_variance(seeds) == 0.0
    found = over_seeds(seeds, stream=[1])
    assert found.value == pytest.approx(0.905)
    assert found.samples.std() == pytest.approx(0.02 / 2**0.5, rel=0.05)


def test_seeds_further_apart_than_texts_explain_widen_the_interval():
    """By hand: values 0.85, 0.90, 0.95 have a variance of 0.0025, of which 0.01 ** 2 is of the texts."""
    seeds = [normal(value, scale=0.01, seed=n) for n, value in enumerate((0.85, 0.90, 0.95))]
    assert seed_variance(seeds) == pytest.approx(0.0024, rel=0.02)
    found = interval(over_seeds(seeds, stream=[1]), confidence=0.95)
    assert found.method == TWO_LEVEL
    half_width = 4.303 * (0.0024 / 3) ** 0.5  # Student's t of 2 degrees of freedom, 97.5 %
    assert (found.high - found.low) / 2 == pytest.approx(half_width, rel=0.1)


def test_what_all_seeds_have_in_common_is_the_texts_share_and_stays():
    seeds = [normal(0.9, scale=0.001, seed=n, shared=0.02) for n in range(3)]
    assert over_seeds(seeds, stream=[1]).samples.std() == pytest.approx(0.02, rel=0.05)


def test_the_same_jobs_have_the_same_draws_and_other_jobs_others():
    seeds = [normal(value, scale=0.01, seed=n) for n, value in enumerate((0.85, 0.90, 0.95))]
    first, again, other = (over_seeds(seeds, stream=[13, name]) for name in ("a", "a", "b"))
    assert (first.samples == again.samples).all()
    assert np.ptp(first.minus(again).samples) == 0
    assert first.minus(other).samples.std() > 0.02
    assert first.minus(other).seeds == 3


def test_a_seed_without_a_score_leaves_the_mean_undefined():
    nothing = Resampled(None, np.full(4000, np.nan), {})
    assert over_seeds([normal(0.9, scale=0.01, seed=1), nothing], stream=[1]).value is None


@pytest.fixture(scope="module")
def report(make_shared_project) -> Report:
    """Of two models at three seeds; the merged encoder is unsteady."""
    evaluation = {"resamples": 400, "latency_texts": 5, "seeds": SEEDS, "margins": MARGINS}
    project = make_shared_project(test_rows=300, evaluation=evaluation)
    unsteady = {13: 0.95, 14: 0.85, 15: 0.75}
    evaluations = []
    for index, job in enumerate(make_plan(project.config).jobs):
        merged = job.model == "encoder" and len(job.tasks) > 1
        skill = unsteady[job.seed] if merged else {"linear": 0.4, "encoder": 0.85}[job.model]
        evaluations.append(project.evaluate(project.job(index, skill=skill)))
    return read_report(project.benchmark("run-1", list(reversed(evaluations))))


def test_scores_are_means_over_seeds_and_intervals_hold_their_spread(report):
    merged = next(row for row in report.systems if row.name == "encoder/merged")
    assert [row.seed for row in merged.seeds] == list(SEEDS)
    for task, scores in merged.tasks.items():
        for name, score in scores.items():
            assert score.value == pytest.approx(np.mean([row.tasks[task][name].value for row in merged.seeds]))
    wide, steady = merged.ranked, next(row for row in report.systems if row.name == "encoder/single").ranked
    assert wide.interval.method == TWO_LEVEL
    assert wide.interval.high - wide.interval.low > 3 * (steady.interval.high - steady.interval.low)


def test_a_lucky_seed_is_no_proof_that_merging_helps(report):
    """The merged model's first seed beats the separate models by ten points; over the seeds nothing can be told."""
    by_name = {row.name: row for row in report.systems}
    first = by_name["encoder/merged"].deployed["intent"]["accuracy"].value
    assert first > by_name["encoder/single"].deployed["intent"]["accuracy"].value + 0.05
    (verdict,) = report.verdicts
    assert verdict.verdict == "undecided"
    assert {test.test for test in verdict.tests} == {"two-level bootstrap"}
    assert all(test.detectable_margin > MARGINS["accuracy"] for test in verdict.tests)


def test_what_is_deployed_is_the_first_seed_and_further_ones_are_kept_in_the_record(report):
    record = storage.read_json(next(row for row in report.systems if row.name == "encoder/merged").record)
    assert [bundle["seed"] for bundle in record["bundles"]] == [13]
    assert [bundle["seed"] for bundle in record["repeats"]] == [14, 15]
    assert len(report.jobs) == 21
    assert {detail.job.partition("@")[2] for detail in report.details} == {"13"}


def test_the_report_shows_the_spread(report):
    for text in (render_html(report), render_markdown(report)):
        assert "Seeds" in text
        for seed in SEEDS:
            assert f"seed {seed}" in text
