from pathlib import Path

import pytest
from tiny_bundles import TEXTS, publish_bundle, publish_run
from word_counter import WordCounter, card

from taskmix import storage
from taskmix.errors import BundleError, Corrupt, NotFound, UnknownTask
from taskmix.modeling.system import Part, System, load_system, read_system_record
from taskmix.serving.releases import promote, stage


def make_system(*models: WordCounter) -> System:
    parts = [Part("memory", "0" * 64, tuple(model.heads), model, card(tuple(model.heads))) for model in models]
    return System(parts, name="counter/single")


def test_two_bundles_answer_as_one_model_in_the_order_asked() -> None:
    system = make_system(WordCounter(["length"]), WordCounter(["numbers"]))

    answers = system.predict(["one 2", "a b c d e 6"], tasks=["numbers", "length"])

    assert [list(answer) for answer in answers] == [["numbers", "length"], ["numbers", "length"]]
    assert answers[1]["length"].label == "long"
    assert [span.start for span in answers[1]["numbers"].spans] == [5]


def test_a_bundle_is_asked_only_for_its_own_tasks() -> None:
    length, numbers = WordCounter(["length"]), WordCounter(["numbers"])

    make_system(length, numbers).predict(["a 1"], tasks=["length"])

    assert (length.calls, numbers.calls) == ([1], [])


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownTask, match=r"task 'mood' is not one of \['length', 'numbers'\]"):
        make_system(WordCounter()).predict(["a"], tasks=["mood"])


def test_the_rejection_threshold_comes_from_the_bundle_that_answers_the_task() -> None:
    system = make_system(WordCounter(["length"]), WordCounter(["numbers"]))

    assert system.rejection_threshold("length") == 0.6
    assert system.rejection_threshold("numbers") == 0.0


def test_the_tests_own_bundles_are_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    """Else a test passes with one vocabulary of equally frequent words and fails with another."""
    first, again, other = (publish_bundle(str(tmp_path / str(n)), seed=seed) for n, seed in enumerate((1, 1, 2)))

    assert first.sha256 == again.sha256 != other.sha256


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Storage with a run of a merged system, deployed."""
    root = str(tmp_path_factory.mktemp("storage"))
    promote(stage(publish_run(root, run="run-1"), deployment="assistant"))
    return root


@pytest.mark.parametrize(
    "name",
    [
        "jobs/tiny.intent+slots/0000000000000001",
        "jobs/tiny.intent+slots/0000000000000001/bundle",
        "runs/run-1/systems/tiny.merged.json",
        "deployments/assistant/history/run-1.json",
        "deployments/assistant/champion.json",
        "deployments/assistant",
    ],
)
def test_a_system_loads_by_every_name_that_it_goes_by(deployed: str, name: str) -> None:
    system = load_system(storage.join(deployed, name), device="cpu")

    assert list(system.heads) == ["intent", "slots"]
    assert list(system.predict(TEXTS[:2])[1]) == ["intent", "slots"]


def test_a_system_of_several_bundles_answers_as_each_bundle_does(tmp_path: Path) -> None:
    publish_run(str(tmp_path), run="run-1", blocks=[["intent"], ["slots"]])

    both = load_system(f"{tmp_path}/runs/run-1/systems/tiny.single.json", device="cpu").predict(TEXTS)

    for task in ("intent", "slots"):
        alone = load_system(f"{tmp_path}/jobs/tiny.{task}/0000000000000001", device="cpu").predict(TEXTS)
        if task == "intent":
            assert [a[task].label for a in both] == [a[task].label for a in alone]
        else:
            assert [a[task].spans for a in both] == [a[task].spans for a in alone]


def test_a_system_loads_from_s3(swift) -> None:
    uri = f"{swift.uri}/jobs/tiny/1/bundle"
    publish_bundle(uri)

    assert list(load_system(uri, device="cpu").heads) == ["intent", "slots"]


def test_a_replaced_bundle_is_refused(tmp_path: Path) -> None:
    publish_run(str(tmp_path), run="run-1")
    bundle = f"{tmp_path}/jobs/tiny.intent+slots/0000000000000001/bundle"
    storage.delete_prefix(bundle)
    publish_bundle(bundle, seed=2)

    with pytest.raises(BundleError, match="the bundle was replaced since"):
        load_system(f"{tmp_path}/runs/run-1/systems/tiny.merged.json")


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    publish_bundle(str(tmp_path / "bundle"))
    with (tmp_path / "bundle" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")

    with pytest.raises(Corrupt, match=r"model\.safetensors: not what was published"):
        load_system(str(tmp_path / "bundle"))


def test_a_record_that_asks_a_bundle_for_a_task_it_lacks_is_refused(tmp_path: Path) -> None:
    publish_bundle(str(tmp_path / "bundle"), tasks=["intent"])
    bundles = [{"uri": str(tmp_path / "bundle"), "tasks": ["intent", "slots"]}]
    storage.write_json(str(tmp_path / "system.json"), {"name": "tiny/merged", "bundles": bundles})

    with pytest.raises(BundleError, match=r"answers \['intent'\], but the system's record asks it for \['slots'\]"):
        load_system(str(tmp_path / "system.json"))


def test_a_folder_without_a_bundle_is_told_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"holds no bundle\.json.*give a bundle, a job that is trained, a deployment"):
        read_system_record(str(tmp_path))


@pytest.mark.parametrize("content", [[], {}, {"name": "x", "bundles": []}, {"record": 3}])
def test_a_json_file_that_is_no_record_is_refused(tmp_path: Path, content: object) -> None:
    storage.write_json(str(tmp_path / "odd.json"), content)

    with pytest.raises(Corrupt, match=r"odd\.json: is no record of a system, a release or a champion"):
        read_system_record(str(tmp_path / "odd.json"))
