"""Where a run's artifacts come from, and what hashing them again finds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taskmix import storage
from taskmix.errors import NotFound
from taskmix.evaluation.gate import decide
from taskmix.evaluation.lineage import CODE, verify_run
from taskmix.serving.releases import promote, stage


@pytest.fixture(scope="module")
def finished(make_shared_project) -> Path:
    """The storage of a run that the gate has judged."""
    project = make_shared_project(evaluation={"resamples": 100, "latency_texts": 5})
    decide(project.benchmark("run-1", project.evaluate_all(skill={"linear": 0.6, "encoder": 0.9})))
    return Path(project.config.storage)


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The same elsewhere, to tamper with."""
    return shutil.copytree(finished, tmp_path / "copied")


def audit(root: Path, *, run: str = "run-1"):
    return verify_run(str(root / "runs" / run))


def lineage(root: Path, *, run: str = "run-1") -> dict:
    return json.loads((root / "runs" / run / "lineage.json").read_text())


def relation(content: dict, name: str, *, of: str, to: str) -> dict[str, set[str]]:
    """Each end of a relation to all its other ends."""
    found: dict[str, set[str]] = {}
    for value in content[name].values():
        found.setdefault(value[of], set()).add(value[to])
    return found


def test_every_artifact_of_the_run_is_in_its_lineage_with_the_step_that_made_it(finished):
    content = lineage(finished)
    names = set(content["entity"])
    jobs = ["linear.intent", "linear.topic", "linear.slots", "encoder.intent", "encoder.topic", "encoder.slots"]
    jobs.append("encoder.intent+topic+slots")
    expected = {f"taskmix:{kind}/{job}" for job in jobs for kind in ("bundles", "evaluations")}
    expected |= {"taskmix:datasets/assistant", "taskmix:sources/assistant", "taskmix:config", "taskmix:report"}
    expected |= {"taskmix:gate.json", "taskmix:systems/linear/single", "taskmix:systems/encoder/single"}
    assert names == expected | {"taskmix:systems/encoder/merged"}
    made = {value["prov:entity"] for value in content["wasGeneratedBy"].values()}
    assert names - made == {"taskmix:sources/assistant", "taskmix:config"}, "what came from outside"


def test_relations_name_what_there_is(finished):
    content = lineage(finished)
    known = {*content["entity"], *content["activity"], CODE}
    for relation in ("used", "wasGeneratedBy", "wasAssociatedWith"):
        for value in content[relation].values():
            assert set(value.values()) <= known


def test_a_report_leads_back_to_the_source_of_its_data(finished):
    content = lineage(finished)
    maker = {value["prov:entity"]: value["prov:activity"] for value in content["wasGeneratedBy"].values()}
    used = relation(content, "used", of="prov:activity", to="prov:entity")
    reached, pending = set(), ["taskmix:gate.json"]
    while pending:
        name = pending.pop()
        reached.add(name)
        pending += used.get(maker.get(name, ""), set()) - reached
    assert reached == {name for name in content["entity"] if not name.startswith("taskmix:systems/")}


def test_training_tells_its_slice_seed_versions_and_fingerprint(finished):
    step = lineage(finished)["activity"]["taskmix:finetune/encoder.intent"]
    assert step["taskmix:slice"]["seed"] == 13
    assert step["taskmix:slice"]["model"]["kind"] == "encoder"
    assert step["taskmix:versions"] == {"python": "3.11", "taskmix": "0"}
    assert (finished / "jobs" / "encoder.intent" / step["taskmix:fingerprint"]).is_dir()


def test_an_untouched_run_verifies_wherever_it_lies(copied):
    found = audit(copied)
    assert found.faults == ()
    assert found.artifacts == 1 + 1 + 14 + 3 + 1 + 1, "config, data, bundles and evaluations, systems, report, verdict"


def test_tampering_with_one_prediction_is_found(copied):
    path = next((copied / "jobs" / "encoder.intent").rglob("predictions/intent.parquet"))
    table = pq.read_table(path)
    predicted = table["predicted"].to_pylist()
    predicted[7] = next(label for label in predicted if label != predicted[7])
    index = table.column_names.index("predicted")
    pq.write_table(table.set_column(index, "predicted", pa.array(predicted)), path, compression="zstd")
    (fault,) = audit(copied).faults
    assert "encoder.intent" in fault
    assert "predictions/intent.parquet" in fault


def test_a_manifest_made_to_fit_the_tampering_is_found(copied):
    folder = next((copied / "jobs" / "encoder.intent").rglob("bundle"))
    (folder / "reciter.json").write_text('{"skill": 1.0, "seed": 1}')
    (folder / "MANIFEST.json").unlink()
    storage.publish(folder, str(folder))
    (fault,) = audit(copied).faults
    assert fault.startswith(f"{folder}/MANIFEST.json: its sha256 is ")


def test_every_fault_is_told_and_not_only_the_first(copied):
    run = copied / "runs" / "run-1"
    (run / "gate.json").write_text("{}")
    (run / "systems" / "linear.single.json").unlink()
    (run / "report" / "more.html").write_text("not published")
    report = run / "report" / "report.html"
    report.write_text(report.read_text().replace("linear", "LINEAR"))
    faults = audit(copied).faults
    assert sorted(fault.partition(": ")[0].rpartition("/")[2] for fault in faults) == [
        "gate.json",
        "linear.single.json",
        "more.html",
        "report.html",
    ]
    assert any("linear.single.json: is absent" in fault for fault in faults)
    assert any("was not published" in fault for fault in faults)


def test_lost_data_is_told(copied):
    shutil.rmtree(copied / "datasets")
    (fault,) = audit(copied).faults
    assert "MANIFEST.json is absent" in fault


def test_a_run_that_is_not_there_and_a_place_that_is_no_run_are_told(finished, tmp_path):
    with pytest.raises(NotFound, match=r"lineage\.json: is not there"):
        verify_run(str(finished / "runs" / "run-2"))
    with pytest.raises(NotFound, match="is no run's folder; give <storage>/runs/<run>"):
        verify_run(str(tmp_path))


def test_the_lineage_of_the_same_run_is_the_same_bytes(finished, make_shared_project):
    path = finished / "runs" / "run-1" / "lineage.json"
    before = path.read_bytes()
    decide(str(finished / "runs" / "run-1" / "report"))
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def asked_again(make_shared_project) -> Path:
    """The storage of a run whose gate asked the champion anew, as the test data has changed since it was evaluated."""
    settings = {"evaluation": {"resamples": 100, "latency_texts": 5}, "deployment": {"name": "renewed"}}
    earlier = make_shared_project(test_rows=60, **settings)
    report = earlier.benchmark("run-0", earlier.evaluate_all(skill={"linear": 0.9, "encoder": 0.3}, seed=2))
    earlier.decide(report)
    promote(stage(report, deployment="renewed"))
    now = make_shared_project(test_rows=80, **settings)
    now.decide(now.benchmark("run-2", now.evaluate_all(skill={"linear": 0.5, "encoder": 0.95}, seed=3)))
    return Path(now.config.storage)


def test_asking_the_champion_again_is_a_step_with_what_it_used_and_made(asked_again):
    content = lineage(asked_again, run="run-2")
    used = relation(content, "used", of="prov:activity", to="prov:entity")
    made = relation(content, "wasGeneratedBy", of="prov:activity", to="prov:entity")
    jobs = ("linear.intent", "linear.topic", "linear.slots")
    assert {name for name in content["activity"] if "gate/" in name} == {f"taskmix:gate/evaluate/{job}" for job in jobs}
    for job in jobs:
        step = f"taskmix:gate/evaluate/{job}"
        bundle, evaluation = f"taskmix:champion/bundles/{job}", f"taskmix:champion/evaluations/{job}"
        assert used[step] == {bundle, "taskmix:datasets/assistant", "taskmix:config"}
        assert made[step] == {evaluation}
        assert evaluation in used["taskmix:gate"]
        assert content["activity"][step]["taskmix:slice"]["evaluation"]["resamples"] == 100
        for name in (bundle, evaluation):
            place = asked_again / content["entity"][name]["taskmix:location"]
            assert content["entity"][name]["taskmix:sha256"] == storage.read_manifest(str(place)).sha256
    assert content["activity"]["taskmix:gate"]["taskmix:champion"] == "linear/single"
    assert content["activity"]["taskmix:gate"]["taskmix:champion_run"] == "run-0"


def test_tampering_with_what_the_champion_answered_again_is_found(asked_again, tmp_path):
    copied = shutil.copytree(asked_again, tmp_path / "copied")
    assert audit(copied, run="run-2").faults == ()
    entities = lineage(copied, run="run-2")["entity"]
    answers = copied / entities["taskmix:champion/evaluations/linear.topic"]["taskmix:location"]
    path = answers / "predictions" / "topic.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    (copied / entities["taskmix:champion/bundles/linear.slots"]["taskmix:location"] / "reciter.json").write_text("{}")
    first, second = sorted(audit(copied, run="run-2").faults)
    assert "linear.slots" in first
    assert first.partition(": ")[0].endswith("bundle/reciter.json")
    assert "linear.topic" in second
    assert second.partition(": ")[0].endswith("predictions/topic.parquet")


def test_a_champion_of_the_same_test_data_is_named_by_its_stored_answers(asked_again, make_shared_project):
    now = make_shared_project(
        test_rows=60, evaluation={"resamples": 100, "latency_texts": 5}, deployment={"name": "renewed"}
    )
    now.decide(now.benchmark("run-3", now.evaluate_all(skill={"linear": 0.5, "encoder": 0.95}, seed=3)))
    content = lineage(asked_again, run="run-3")
    champion = {name for name in content["entity"] if name.startswith("taskmix:champion/")}
    assert champion == {f"taskmix:champion/evaluations/linear.{task}" for task in ("intent", "topic", "slots")}
    assert champion <= relation(content, "used", of="prov:activity", to="prov:entity")["taskmix:gate"]
    assert audit(asked_again, run="run-3").faults == ()


def test_a_champion_on_another_storage_is_named_by_where_it_lies(asked_again, make_project_in, tmp_path):
    """Whoever copies a storage has a champion whose record names the first one."""
    make = make_project_in(tmp_path)
    shutil.copytree(asked_again, tmp_path / "storage")
    project = make(test_rows=60, evaluation={"resamples": 100, "latency_texts": 5}, deployment={"name": "renewed"})
    project.decide(project.benchmark("run-4", project.evaluate_all(skill={"linear": 0.5, "encoder": 0.9}, seed=3)))
    entity = lineage(tmp_path / "storage", run="run-4")["entity"]["taskmix:champion/evaluations/linear.slots"]
    assert entity["taskmix:origin"].startswith(str(asked_again))
    assert "taskmix:location" not in entity
    assert audit(tmp_path / "storage", run="run-4").faults == ()
