"""What a configuration comes to: systems, shared jobs, slices."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from taskmix.config.load import load_config
from taskmix.config.plan import Plan, make_plan
from taskmix.errors import ConfigError

TEXT = dedent("""\
    name: plan
    storage: runs
    datasets:
      one: {format: generated}
      two: {format: generated, noise: 0.0}
    tasks:
      intent: {type: classification, dataset: one, label: intent}
      topic: {type: classification, dataset: two, label: topic}
      slots: {type: slot_filling, dataset: one, annotation: slots}
    groupings:
      single: each
      merged: all
      voice: [[slots, intent], [topic]]
      alone: [[slots], [topic], [intent]]
    models:
      svm: {kind: linear}
      small: {kind: encoder, architecture: {}, hardware: gpu}
    hardware:
      gpu: {gpus: 1}
    """)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return path


def plan_of(path: Path, *overrides: str) -> Plan:
    return make_plan(load_config(path, overrides=overrides))


def test_all_systems_are_those_that_differ(config_file: Path) -> None:
    assert [system.name for system in plan_of(config_file).systems] == [
        "svm/single",  # a linear model shares nothing: the finest grouping only
        "small/single",
        "small/merged",
        "small/voice",  # `alone` is the same partition as `single`
    ]


def test_a_job_of_several_systems_is_one_job(config_file: Path) -> None:
    plan = plan_of(config_file)
    assert sum(len(system.jobs) for system in plan.systems) == 9
    assert [job.name for job in plan.jobs] == [
        "svm.intent",
        "svm.topic",
        "svm.slots",
        "small.intent",
        "small.topic",
        "small.slots",
        "small.intent+topic+slots",
        "small.intent+slots",  # topic alone is there already
    ]


def test_a_list_of_systems_is_taken_as_it_is(config_file: Path) -> None:
    plan = plan_of(config_file, "systems=[small/alone, svm/merged]")
    assert [system.name for system in plan.systems] == ["small/alone", "svm/merged"]


def test_slices_hold_what_decides_a_result_and_nothing_else(config_file: Path) -> None:
    plan = plan_of(config_file)
    job = plan.jobs[-1]
    before = plan.job_slice(job)
    assert list(before.tasks) == ["intent", "slots"]
    assert before.datasets == ("one",)
    assert list(plan.dataset_slice("one").tasks) == ["intent", "slots"]
    for unrelated in (
        "deployment.name=other",
        "models.small.hardware=null",
        "storage=elsewhere",
        "models.svm={kind: linear}",
    ):
        assert plan_of(config_file, unrelated).job_slice(job) == before
    for related in ("seed=14", "models.small.recipe={epochs: 9}", "tasks.intent.labels=[a, b]"):
        changed = plan_of(config_file, related)
        assert changed.job_slice(changed.jobs[-1]) != before


def test_each_job_is_trained_with_every_seed_and_named_after_it(config_file: Path) -> None:
    plan = plan_of(config_file, "evaluation.seeds=[5, 6]", "systems=[small/merged, svm/single]")
    assert [job.name for job in plan.jobs] == [
        "small.intent+topic+slots@5",
        "svm.intent@5",
        "svm.topic@5",
        "svm.slots@5",
        "small.intent+topic+slots@6",
        "svm.intent@6",
        "svm.topic@6",
        "svm.slots@6",
    ]
    assert plan.jobs[0].title == "small [intent+topic+slots] seed 5"
    slices = [plan.job_slice(job) for job in (plan.jobs[0], plan.jobs[4])]
    assert [slice.seed for slice in slices] == [5, 6]
    assert slices[0].name == slices[1].name == "small.intent+topic+slots", "one folder on storage, two fingerprints"
    assert [job.seed for job in plan.systems[0].jobs] == [5], "what is deployed is the first seed's"


def test_one_seed_in_the_list_is_a_seed_like_the_configurations_own(config_file: Path) -> None:
    listed, own = plan_of(config_file, "evaluation.seeds=[7]"), plan_of(config_file, "seed=7")
    assert listed.jobs == own.jobs
    assert [listed.job_slice(job) for job in listed.jobs] == [own.job_slice(job) for job in own.jobs]


def test_a_seed_given_twice_is_refused(config_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.seeds.*holds 5 more than once; keep one"):
        plan_of(config_file, "evaluation.seeds=[5, 6, 5]")


def test_a_decoder_that_is_not_tuned_is_one_job_for_all_groupings(config_file: Path) -> None:
    decoder = "{kind: decoder, checkpoint: s3://models/llama, tuning: none, shots: 5"
    plan = plan_of(config_file, f"models={{asked: {decoder}}}, joint: {decoder}, answers: joint}}}}")
    assert [system.name for system in plan.systems] == ["asked/merged", "joint/single", "joint/merged", "joint/voice"]


def test_the_words_of_a_prompt_belong_to_the_jobs_that_read_it_alone(config_file: Path) -> None:
    models = "models={small: {kind: encoder, architecture: {}}, llama: {kind: decoder, architecture: {}}}"
    before, after = (
        plan_of(config_file, models, f"tasks.intent.instruction={words}") for words in ("null", "What is wanted?")
    )
    assert before.dataset_slice("one") == after.dataset_slice("one")
    changed = [job.name for job in after.jobs if before.job_slice(job) != after.job_slice(job)]
    assert changed == ["llama.intent", "llama.intent+topic+slots", "llama.intent+slots"]


@pytest.mark.parametrize(
    ("decoder", "why"),
    [
        ("shots: 5", "shots 5 needs tuning: none"),
        ("head: classifier, tuning: none", "head: classifier needs tuning: full"),
        ("head: classifier, answers: joint", "answers: joint needs head: generator"),
        ("recipe: {offload: true}", "offload needs deepspeed"),
        ("checkpoint: here", "exactly one of 'checkpoint'"),
        ("architecture: {hidden: 100, heads: 8}", "must be an even multiple of heads"),
    ],
)
def test_a_decoder_that_makes_no_sense_is_refused(config_file: Path, decoder: str, why: str) -> None:
    architecture = "" if "architecture" in decoder else ", architecture: {}"
    with pytest.raises(ConfigError, match=why):
        plan_of(config_file, f"models={{llama: {{kind: decoder, {decoder}{architecture}}}}}")
