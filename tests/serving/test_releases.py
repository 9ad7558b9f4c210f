import shutil
import socket

import pytest
from tiny_bundles import publish_run

from taskmix import storage
from taskmix.errors import Corrupt, NotFound, RolledBack, ServingError, StorageError, Superseded
from taskmix.evaluation.exports import export_system
from taskmix.modeling.system import load_system, read_system_record
from taskmix.serving.assembly import assemble
from taskmix.serving.releases import champion, previous_release, promote, read_release, roll_back, stage


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("storage"))
    for index, run in enumerate(("run-1", "run-2")):
        publish_run(folder, run=run, seed=index)
    return folder


def report_of(root: str, run: str = "run-1") -> str:
    return storage.join(root, "runs", run, "report")


def test_a_release_holds_the_winner_with_its_scores(root: str) -> None:
    release = stage(report_of(root), deployment="staged", run="run-1")

    assert release == f"{root}/deployments/staged/history/run-1.json"
    content = read_release(release)
    assert content["system"] == "tiny/merged"
    assert content["record"] == storage.read_json(f"{root}/runs/run-1/systems/tiny.merged.json")
    assert content["scores"] == {"mean": 0.5, "intent": 0.4, "slots": 0.6}
    assert content["report"] == report_of(root)


def test_staging_alone_serves_nothing(root: str) -> None:
    stage(report_of(root), deployment="never-promoted")

    assert champion(root, "never-promoted") is None


def test_staging_again_changes_nothing(root: str) -> None:
    assert stage(report_of(root), deployment="again") == stage(report_of(root), deployment="again")


def test_the_champion_keeps_the_one_before_it(root: str) -> None:
    first = promote(stage(report_of(root, "run-1"), deployment="two"))
    assert champion(root, "two")["previous"] is None
    second = stage(report_of(root, "run-2"), deployment="two")
    promote(second)

    served = champion(root, "two")
    assert first == f"{root}/deployments/two/champion.json"
    assert (served["run"], served["release"]) == ("run-2", second)
    assert served["previous"]["run"] == "run-1"
    assert "previous" not in served["previous"]


def test_of_two_runs_that_challenged_the_same_champion_one_is_promoted(root: str) -> None:
    releases = [stage(report_of(root, run), deployment="raced") for run in ("run-1", "run-2")]
    promote(releases[1])

    with pytest.raises(Superseded, match=r"compared it with no champion, but the champion now is that of run run-2"):
        promote(releases[0])
    assert champion(root, "raced")["run"] == "run-2"


def test_a_rollback_returns_to_the_previous_champion_and_then_no_further_than_there_is(root: str) -> None:
    releases = []
    for run in ("run-1", "run-2"):
        releases.append(stage(report_of(root, run), deployment="back"))
        promote(releases[-1])

    assert previous_release(root, "back") == releases[0]
    roll_back(releases[0], served={"inference_service": "back"})

    served = champion(root, "back")
    assert (served["run"], served["previous"]) == ("run-1", None)
    (left,) = served["rollbacks"]
    assert (left["run"], left["release"], left["overruled"]) == ("run-2", releases[1], None)
    assert left["done"]["by"].endswith(f"@{socket.gethostname()}")
    assert served["served"] == {"inference_service": "back"}
    with pytest.raises(ServingError, match="names no previous champion, so there is nothing to return to"):
        previous_release(root, "back")
    with pytest.raises(Superseded, match=r"the previous champion is not .*run-2\.json any more"):
        roll_back(releases[1])
    with pytest.raises(ServingError, match="nothing has been deployed under this name"):
        previous_release(root, "never")


def test_bundles_that_were_rolled_back_are_promoted_again_only_where_that_is_asked_for(tmp_path) -> None:
    root = str(tmp_path)
    for run, seed in (
        ("run-1", 1),
        ("run-2", 2),
        ("run-3", 2),
        ("run-4", 4),
    ):  # the third reuses the second
        publish_run(root, run=run, seed=seed)

    def staged(run: str) -> str:
        return stage(report_of(root, run), deployment="back", run=run)

    first = staged("run-1")
    promote(first)
    promote(staged("run-2"))
    roll_back(first)

    with pytest.raises(RolledBack, match=r"as tiny/merged of run run-2, which was rolled back on .* by .*@"):
        promote(staged("run-3"))
    assert champion(root, "back")["run"] == "run-1"
    promote(staged("run-4"))  # others may
    (kept,) = champion(root, "back")["rollbacks"]  # and the next champion remembers it still
    assert (kept["run"], kept["overruled"]) == ("run-2", None)
    assert "rollbacks" not in champion(root, "back")["previous"]
    publish_run(root, run="run-5", seed=2)
    with pytest.raises(RolledBack, match="it shall be: taskmix deploy CONFIG --run run-5 --again"):
        promote(staged("run-5"))

    promote(staged("run-5"), again=True)

    (kept,) = champion(root, "back")["rollbacks"]
    assert kept["overruled"]["at"] >= kept["done"]["at"]
    publish_run(root, run="run-6", seed=6)
    promote(staged("run-6"))
    publish_run(root, run="run-7", seed=2)
    promote(staged("run-7"))  # a rollback that was overruled stands no longer


def test_a_record_whose_rollbacks_cannot_be_read_is_told(root: str) -> None:
    uri = promote(stage(report_of(root), deployment="odd"))
    storage.write_json(uri, {**storage.read_json(uri), "rollbacks": [{"run": "run-0"}]}, replace=True)

    with pytest.raises(Corrupt, match=r"odd/champion\.json: its `rollbacks` are not a list of rollbacks"):
        promote(stage(report_of(root, "run-2"), deployment="odd"))


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_the_assembled_release_is_the_system_in_one_folder(
    where: str, tmp_path, request: pytest.FixtureRequest
) -> None:
    root = str(tmp_path) if where == "folder" else request.getfixturevalue("swift").uri
    report = publish_run(root, run="run-1", blocks=[["intent"], ["slots"]])
    release = stage(report, deployment="assistant")

    uri = assemble(release)

    assert uri == f"{root}/deployments/assistant/releases/run-1/"
    assert assemble(release) == uri
    with storage.local_copy(uri) as folder:  # every byte verified, as KServe's copy is when a server loads it
        alone = shutil.copytree(folder, tmp_path / "alone")
    served, evaluated = load_system(str(alone), device="cpu"), load_system(release, device="cpu")
    assert served.name == "tiny/single"
    assert [part.manifest for part in served.parts] == [part.manifest for part in evaluated.parts]
    asked, expected = (repr(system.predict(["wake me at nine"])) for system in (served, evaluated))
    assert asked == expected


def test_an_export_goes_along_into_the_folder(tmp_path) -> None:
    root = str(tmp_path / "storage")
    report = publish_run(root, run="run-1")
    summary = storage.read_json(f"{report}/report.json")
    export_system(summary["systems"][0]["record"], backend="torch-bf16", max_loss=1.0)
    summary["config"]["deployment"] = {"backend": "torch-bf16"}
    storage.write_json(f"{report}/report.json", summary, replace=True)

    uri = assemble(stage(report, deployment="assistant"))

    (part,) = read_system_record(uri).bundles
    assert part.export == f"{uri}exports/0"
    assert [part.backend for part in load_system(uri, device="cpu").parts] == ["torch-bf16"]


def test_an_empty_file_that_kserve_would_leave_out_is_refused(tmp_path) -> None:
    root = str(tmp_path / "storage")
    (tmp_path / "bundle").mkdir()
    for name, text in (("bundle.json", "{}"), ("merges.txt", "")):
        (tmp_path / "bundle" / name).write_text(text)
    storage.publish(tmp_path / "bundle", f"{root}/bundle")

    with pytest.raises(StorageError, match=r"part/merges\.txt would be empty, and KServe leaves empty objects out"):
        storage.gather({"part": f"{root}/bundle"}, f"{root}/release", files={}, about={})


def test_promoting_the_champion_again_changes_nothing(root: str) -> None:
    releases = []
    for run in ("run-1", "run-2"):
        releases.append(stage(report_of(root, run), deployment="retried"))
        promote(releases[-1])
    before = champion(root, "retried")

    promote(releases[1])

    assert champion(root, "retried") == before


def test_releases_live_on_s3_too(swift) -> None:
    release = stage(publish_run(swift.uri, run="run-1"), deployment="assistant")
    promote(release)

    assert champion(swift.uri, "assistant")["system"] == "tiny/merged"


def test_a_system_that_the_gate_refused_is_not_staged(tmp_path) -> None:
    report = publish_run(str(tmp_path), run="run-1")
    verdict = {"accepted": False, "system": "tiny/merged", "reasons": ["FAILED minimum intent: accuracy is 0.4"]}
    storage.write_json(f"{tmp_path}/runs/run-1/gate.json", verdict, replace=True)

    with pytest.raises(ServingError, match="the gate did not accept 'tiny/merged': FAILED minimum intent"):
        stage(report, deployment="assistant")


def test_a_run_without_a_verdict_is_not_staged(tmp_path) -> None:
    report = publish_run(str(tmp_path), run="run-1")
    (tmp_path / "runs" / "run-1" / "gate.json").unlink()

    with pytest.raises(ServingError, match="the gate has not decided; run it first"):
        stage(report, deployment="assistant")


def test_a_report_without_the_accepted_system_is_refused(tmp_path) -> None:
    report = publish_run(str(tmp_path), run="run-1")
    verdict = {"accepted": True, "system": "other/single", "reasons": []}
    storage.write_json(f"{tmp_path}/runs/run-1/gate.json", verdict, replace=True)

    with pytest.raises(Corrupt, match="has no complete line for the system 'other/single'"):
        stage(report, deployment="assistant")


def test_what_is_no_report_is_told(tmp_path) -> None:
    with pytest.raises(ServingError, match="is no report; give <storage>/runs/<run>/report"):
        stage(str(tmp_path), deployment="assistant")
    with pytest.raises(NotFound):
        stage(f"{tmp_path}/runs/run-1/report", deployment="assistant")


def test_a_file_that_is_no_release_is_not_promoted(tmp_path) -> None:
    storage.write_json(f"{tmp_path}/deployments/a/history/run-1.json", {"format": 2})

    with pytest.raises(Corrupt, match=r"run-1\.json: is no record of format 1"):
        promote(f"{tmp_path}/deployments/a/history/run-1.json")
