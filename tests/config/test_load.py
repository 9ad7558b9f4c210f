"""Reading a configuration: what is right loads, and everything wrong is told at once."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmix.config.load import load_config
from taskmix.config.schema import Config, EncoderModel, MassiveDataset
from taskmix.errors import ConfigError

GOOD = """\
name: assistant
storage: runs
datasets:
  massive: {format: massive, uri: /data/massive.jsonl}
  tickets: {format: csv, uri: "/data/tickets/{split}.csv", text: [subject, body]}
tasks:
  intent: {type: classification, dataset: massive, label: intent}
  slots: {type: slot_filling, dataset: massive, annotation: annot_utt}
  urgency: {type: classification, dataset: tickets, label: urgency, labels: [low, high]}
groupings:
  single: each
  merged: all
  voice: [[intent, slots], [urgency]]
models:
  svm: {kind: linear}
  minilm: {kind: encoder, checkpoint: org/model, recipe: {epochs: 2, learning_rate: 3e-4}, hardware: gpu}
hardware:
  gpu: {gpus: 1}
gate: {rank_by: intent, minimum: {intent: 0.8}}
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD)
    return path


def problems_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides=overrides)
    assert caught.value.source == str(path)
    return list(caught.value.problems)


def problems_after(path: Path, old: str, new: str) -> list[str]:
    """The problems of the good configuration after one change in its text."""
    assert GOOD.count(old) == 1, f"{old!r} does not stand exactly once in the good configuration"
    path.write_text(GOOD.replace(old, new))
    return problems_of(path)


def test_a_right_configuration_loads_frozen_and_typed(config_file: Path) -> None:
    config = load_config(config_file)
    assert isinstance(config, Config)
    assert list(config.tasks) == ["intent", "slots", "urgency"]
    assert config.groupings["voice"] == (("intent", "slots"), ("urgency",))
    model = config.models["minilm"]
    assert isinstance(model, EncoderModel)
    assert model.recipe.learning_rate == 3e-4
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 5  # type: ignore[misc]


def test_five_mistakes_are_told_at_once_with_line_and_nearest_match(tmp_path: Path) -> None:
    path = tmp_path / "five.yaml"
    path.write_text(
        dedent("""\
        name: five
        storage: runs
        sede: 5
        datasets:
          massive: {format: masive, uri: x}
        tasks:
          intent: {type: classification, dataset: massiv, label: intent}
          slots: {type: slot_filling, dataset: massive, annotation: annot_utt}
        groupings:
          voice: [[intent], [intent]]
        models:
          svm: {kind: linear, hardware: gpu}
        """)
    )
    expected = [
        ("sede (line 3): unknown key; allowed: name, seed, storage,", "did you mean 'seed'?"),
        ("datasets.massive.format (line 5): unknown format 'masive'; allowed: massive,", "did you mean 'massive'?"),
        ("tasks.intent.dataset (line 7): unknown dataset 'massiv'; allowed: massive;", "did you mean 'massive'?"),
        ("groupings.voice (line 10): holds intent more than once;", "exactly one block"),
        ("groupings.voice (line 10): lacks slots;", "exactly one block"),
        ("models.svm.hardware (line 12): unknown hardware 'gpu'; allowed: none", ""),
    ]
    found = problems_of(path)
    assert len(found) == len(expected)
    for problem, (start, end) in zip(found, expected, strict=True):
        assert problem.startswith(start)
        assert problem.endswith(end)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("storage: runs\n", "", "storage: is missing; allowed: text"),
        ("name: assistant", "name: my assistant", "name (line 1): found 'my assistant'; allowed: 1 to 63 letters"),
        ("epochs: 2", "epochs: 0", "models.minilm.recipe.epochs (line 16): found 0; allowed: at least 1"),
        ("epochs: 2", "epochs: two", "models.minilm.recipe.epochs (line 16): found 'two'; allowed: a whole number"),
        ("epochs: 2", "precision: bf-16", "allowed: auto, fp32, bf16; did you mean 'bf16'?"),
        ("epochs: 2", "epoch: 2", "models.minilm.recipe.epoch (line 16): unknown key; allowed: epochs, "),
        ("kind: linear", "kind: linear, epochs: 3", "models.svm.epochs (line 15): unknown key"),
        ("hardware: gpu}", "epochs: 3, hardware: gpu}", "unknown key; it belongs under 'recipe'"),
        ("kind: linear", "kind: lienar", "models.svm.kind (line 15): unknown kind 'lienar'; allowed: linear, encoder"),
        ("kind: linear", "hardware: gpu", "models.svm.kind (line 15): is missing; allowed: linear, encoder"),
        ("svm: {kind: linear}", "svm: linear", "models.svm (line 15): found 'linear'; allowed: a mapping of keys"),
        ("label: intent", "label: no", "found the truth value false; allowed: text; put it in quotes"),
        ("label: intent", 'label: " "', "tasks.intent.label (line 7): is empty"),
        ("labels: [low, high]", "labels: [low, low]", "tasks.urgency.labels (line 9): holds low more than once"),
        ("labels: [low, high]", "labels: []", "leave it out to take the labels seen in train"),
        ("/data/tickets/{split}.csv", "/data/tickets.csv", "uri (line 5): found '/data/tickets.csv'; must hold"),
        ("text: [subject, body]", "text: 5", "datasets.tickets.text (line 5): found 5; allowed: text or a list"),
        ("text: [subject, body]", "text: [a, 5]", "datasets.tickets.text.1 (line 5): found 5; allowed: text;"),
        ("single: each", "single: eech", "found 'eech'; allowed: each, all or a list; did you mean 'each'?"),
        ("[urgency]]", "[urgncy]]", "groupings.voice (line 13): lacks urgency; each task must"),
        ("], [urgency]]", ", urgency], []]", "groupings.voice.1 (line 13): is an empty block"),
        ("rank_by: intent", "rank_by: inten", "gate.rank_by (line 19): unknown task 'inten'; allowed: mean, intent,"),
        ("minimum: {intent: 0.8}", "minimum: {slot: 0.8}", "gate.minimum.slot (line 19): unknown task 'slot'; "),
        ("minimum: {intent: 0.8}", "minimum: {intent: 80}", "minimum.intent (line 19): found 80; allowed: at most 1"),
        ("checkpoint: org/model, ", "", "models.minilm (line 16): needs exactly one of 'checkpoint'"),
        ("gpus: 1", "gpus: one", "hardware.gpu.gpus (line 18): found 'one'; allowed: a whole number"),
        ("name: assistant", "name: assistant\nname: twice", "(line 2): is given twice, here and in line 1; keep one"),
        ("name: assistant", "name: assistant\naws_secret_access_key: x", "secrets stay out of the file"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_where_it_stands(config_file: Path, old: str, new: str, problem: str) -> None:
    found = problems_after(config_file, old, new)
    assert len([one for one in found if "unknown task 'urgncy'" not in one]) == 1, found
    assert any(problem in one for one in found), found


def test_pinned_texts_do_not_stand_in_a_file_whose_texts_are_withheld(config_file: Path) -> None:
    pinned = "gate.regression_set=[{text: wake me at nine, task: intent, label: alarm_set}]"
    assert load_config(config_file, overrides=[pinned]).gate.regression_set
    (problem,) = problems_of(config_file, pinned, "report.texts=redact")
    assert problem.startswith("gate.regression_set")
    assert problem.endswith("put them into a file of JSON lines and give its URI")
    assert load_config(config_file, overrides=["gate.regression_set=pins.jsonl", "report.texts=redact"])


@pytest.mark.parametrize(
    ("systems", "problem"),
    [
        ("[minilm]", "systems.0 (line 20): found 'minilm'; allowed: model/grouping, e.g. svm/single"),
        ("[minlm/merged]", "systems.0 (line 20): unknown model 'minlm'; allowed: svm, minilm; did you mean 'minilm'?"),
        ("[minilm/merge]", "unknown grouping 'merge'; allowed: single, merged, voice; did you mean 'merged'?"),
        ("[svm/single, svm/single]", "systems.1 (line 20): svm/single is listed more than once; keep one"),
        ("[]", "systems (line 20): is empty; allowed: all, or a list of model/grouping"),
        ("some", "systems (line 20): found 'some'; allowed: all or a list"),
    ],
)
def test_systems_must_be_models_and_groupings_there_are(config_file: Path, systems: str, problem: str) -> None:
    config_file.write_text(f"{GOOD}systems: {systems}\n")
    found = problems_of(config_file)
    assert len(found) == 1, found
    assert problem in found[0]


def test_the_groupings_that_need_no_section_can_be_named_in_systems(config_file: Path) -> None:
    text = GOOD[: GOOD.index("groupings:")] + GOOD[GOOD.index("models:") :]
    config_file.write_text(f"{text}systems: [svm/single, minilm/merged]\n")
    assert load_config(config_file).systems == ("svm/single", "minilm/merged")


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "sk-abcdefghijklmnopqrst",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "https://user:hunter2@host.example/data.tar.gz",
        "https://host.example/data?X-Amz-Signature=abc",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_a_secret_is_refused_and_never_shown(config_file: Path, secret: str) -> None:
    found = problems_after(config_file, "/data/massive.jsonl", f"'{secret}'")
    assert len(found) == 1
    assert found[0].startswith("datasets.massive.uri (line 4): looks like a secret; take it out and revoke it")
    assert secret not in found[0]
    assert secret not in problems_after(config_file, "epochs: 2", f"epochs: '{secret}'")[0]
    assert not any(
        secret in problem for problem in problems_after(config_file, "rank_by: intent", f"rank_by: '{secret}'")
    )


def test_addresses_that_only_look_like_secrets_load(config_file: Path) -> None:
    config = load_config(config_file, overrides=["datasets.massive.uri=https://host.example:8080/a@b/c.tar.gz"])
    assert isinstance(config.datasets["massive"], MassiveDataset)
    assert config.datasets["massive"].uri == "https://host.example:8080/a@b/c.tar.gz"


def test_overrides_are_written_over_the_file_as_yaml(config_file: Path) -> None:
    config = load_config(
        config_file,
        overrides=[
            "datasets.massive.uri=relative/folder",
            "seed=7",
            "models.minilm.recipe={epochs: 9}",
            "models.minilm.recipe.patience=2",
            "groupings.voice.1=[urgency]",
            "deployment.name=other",
            "gate.minimum.slots=0.5",
            "evaluation={resamples: 200}",
        ],
    )
    assert isinstance(config.datasets["massive"], MassiveDataset)
    assert config.datasets["massive"].uri == "relative/folder"
    assert config.seed == 7
    assert isinstance(config.models["minilm"], EncoderModel)
    assert (config.models["minilm"].recipe.epochs, config.models["minilm"].recipe.patience) == (9, 2)
    assert config.deployment.name == "other"
    assert config.gate.minimum == {"intent": 0.8, "slots": 0.5}
    assert config.evaluation.resamples == 200


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("datasets.masive.uri=/x", "datasets.masive (--set datasets.masive.uri): there is no dataset 'masive' to set"),
        ("datasets.masive.uri=/x", "did you mean 'massive'?"),
        ("datasets.massive.url=/x", "datasets.massive.url (--set datasets.massive.url): unknown key; allowed: "),
        ("sead=7", "sead (--set sead): unknown key"),
        ("some.where=7", "some (--set some.where): unknown key"),
        ("name.x=7", "name (--set name.x): is no section, so nothing can be set in it"),
        ("seed", "the file (--set seed): allowed: path.to.key=value"),
        ("=5", "allowed: path.to.key=value"),
        ("seed={a", "seed (--set seed): the value is no YAML"),
        ("seed=many", "seed (--set seed): found 'many'; allowed: a whole number"),
        ("groupings.voice.7=[urgency]", "groupings.voice.7 (--set groupings.voice.7): allowed: a position from 0 to 1"),
        (
            "datasets.massive.uri=s3://me:secret@bucket/x",
            "datasets.massive.uri (--set datasets.massive.uri): looks like",
        ),
    ],
)
def test_an_override_that_leads_nowhere_is_an_error(config_file: Path, override: str, problem: str) -> None:
    assert any(problem in found for found in problems_of(config_file, override)), problems_of(config_file, override)


def test_problems_of_overrides_and_of_the_file_are_told_together(config_file: Path) -> None:
    config_file.write_text(GOOD.replace("epochs: 2", "epochs: 0"))
    found = problems_of(config_file, "seed=many", "sead=1")
    assert [problem.split(" ")[0] for problem in found] == ["models.minilm.recipe.epochs", "seed", "sead"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file: found nothing; allowed: a mapping of keys"),
        (b"[a, b]", "the file: found a list; allowed: a mapping of keys"),
        (b"name: {a\nb: c", "is no YAML"),
        (b"name: \xff", "the file: is not UTF-8 (byte 6); save it as UTF-8"),
        (b"name: !!python/object/apply:os.system ['true']", "is no YAML: could not determine a constructor"),
        (b"name: &a [*a]", "is an alias of a section around it"),
        (b"? [a, b]\n: c", "has a key that is no text"),
    ],
)
def test_a_file_that_is_no_configuration_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    found = problems_of(path)
    assert len(found) == 1
    assert problem in found[0]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "none.yaml") == ["the file: there is no such file"]
    assert problems_of(tmp_path) == ["the file: is a folder; name a YAML file"]


def test_keys_are_text_even_where_yaml_takes_them_for_something_else(config_file: Path) -> None:
    config_file.write_text(GOOD.replace("tickets:", "on:").replace("dataset: tickets", "dataset: 'on'"))
    assert list(load_config(config_file).datasets) == ["massive", "on"]


def test_anchors_and_merges_work_as_in_yaml(config_file: Path) -> None:
    config_file.write_text(
        GOOD.replace("recipe: {", "recipe: &recipe {").replace(
            "hardware:\n", "  other: {kind: encoder, checkpoint: o/m, recipe: {<<: *recipe, epochs: 5}}\nhardware:\n", 1
        )
    )
    other = load_config(config_file).models["other"]
    assert isinstance(other, EncoderModel)
    assert (other.recipe.epochs, other.recipe.learning_rate) == (5, 3e-4)


def test_an_override_of_an_anchor_leaves_its_aliases_as_they_are(config_file: Path) -> None:
    config_file.write_text(
        GOOD.replace("recipe: {", "recipe: &recipe {").replace(
            "hardware:\n", "  other: {kind: encoder, checkpoint: o/m, recipe: *recipe}\nhardware:\n", 1
        )
    )
    models = load_config(config_file, overrides=["models.minilm.recipe.epochs=9"]).models
    assert isinstance(models["minilm"], EncoderModel)
    assert isinstance(models["other"], EncoderModel)
    assert (models["minilm"].recipe.epochs, models["other"].recipe.epochs) == (9, 2)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["all", "each", "massive", "intent", "x/y", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["format", "type", "kind", "uri", "dataset", "label", "recipe", "epochs", "intent", "massive"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    section=st.sampled_from(
        ["datasets", "tasks", "groupings", "models", "systems", "gate", "hardware", "name", "images"]
    ),
    value=JSON_LIKE,
)
def test_whatever_a_section_holds_the_outcome_is_a_config_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, section: str, value: object
) -> None:
    path = tmp_path_factory.mktemp("any") / "config.yaml"
    path.write_text(GOOD)
    outcome: object
    try:
        outcome = load_config(path, overrides=[f"{section}={json.dumps(value)}"])
    except ConfigError as error:
        outcome = error.problems
    assert isinstance(outcome, Config) or (isinstance(outcome, tuple) and outcome)
