from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_bundles import TEXTS, publish_run

from taskmix import storage
from taskmix.errors import BundleError, EvaluationError
from taskmix.evaluation.exports import export_system
from taskmix.evaluation.predictions import read_predictions
from taskmix.modeling.answers import Answer
from taskmix.modeling.exports import EXPORT_FILE, ExportCard, read_export
from taskmix.modeling.system import System, load_system, read_system_record

RECORD = "runs/run-1/systems/tiny.merged.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Storage with a run of one tiny merged encoder, and its two ONNX exports."""
    root = str(tmp_path_factory.mktemp("storage"))
    publish_run(root, run="run-1", seed=2)
    for backend in ("onnx", "onnx-int8", "torch-bf16"):
        export_system(storage.join(root, RECORD), backend=backend, max_loss=1.0)
    return root


def exported(root: str, backend: str) -> str:
    return storage.join(root, f"runs/run-1/exports/tiny.merged.{backend}.json")


def card(root: str, backend: str) -> ExportCard:
    (bundle,) = read_system_record(exported(root, backend)).bundles
    assert bundle.export is not None
    with storage.local_copy(bundle.export) as folder:
        return read_export(folder)


def said(answers: Sequence[dict[str, Answer]]) -> list[tuple[object, object]]:
    return [(answer["intent"].label, answer["slots"].spans) for answer in answers]


def test_onnx_answers_as_torch_does(root: str) -> None:
    own = load_system(storage.join(root, RECORD), device="cpu").predict(TEXTS)
    onnx = load_system(exported(root, "onnx"), device="cpu").predict(TEXTS)

    assert said(onnx) == said(own)
    for left, right in zip(onnx, own, strict=True):
        assert left["intent"].probabilities == pytest.approx(right["intent"].probabilities, abs=1e-5)
    check = card(root, "onnx").checks["intent"]
    assert (check.texts, check.alone, check.agreement, check.moved_by_company) == (60, 60, 1.0, 0)
    assert check.score == check.reference


@pytest.mark.parametrize("backend", ["onnx", "onnx-int8"])
def test_an_answer_does_not_hang_on_its_neighbours(root: str, backend: str) -> None:
    system = load_system(exported(root, backend), device="cpu")

    alone = [system.predict([text])[0] for text in TEXTS]

    assert said(system.predict(TEXTS)) == said(alone)
    assert system.one_by_one == (backend == "onnx-int8")


def test_int8_weights_take_less_room_and_nearly_keep_the_answers(root: str) -> None:
    def size(backend: str) -> int:
        (bundle,) = read_system_record(exported(root, backend)).bundles
        assert bundle.export is not None
        return sum(entry.bytes for entry in storage.read_manifest(bundle.export).files if entry.name == "model.onnx")

    assert size("onnx-int8") < 0.9 * size("onnx")  # the tiny graph itself is most of it
    assert card(root, "onnx-int8").checks["intent"].agreement > 0.9
    own, int8 = (load_system(uri, device="cpu") for uri in (storage.join(root, RECORD), exported(root, "onnx-int8")))
    apart = own.predict(TEXTS[:1])[0]["intent"].probabilities - int8.predict(TEXTS[:1])[0]["intent"].probabilities
    assert 1e-4 < abs(apart).max() < 0.1  # another computation, and nearly the same


@pytest.mark.parametrize("backend", ["onnx", "onnx-int8", "torch-bf16"])
def test_the_export_records_what_it_answers(root: str, backend: str) -> None:
    (bundle,) = read_system_record(exported(root, backend)).bundles
    assert bundle.export is not None
    with storage.local_copy(bundle.export) as folder:
        recorded = read_predictions(folder / "predictions" / "intent.parquet")

    answers = load_system(exported(root, backend), device="cpu").predict(recorded.examples.texts)

    checks = card(root, backend).checks["intent"]
    assert len(recorded.examples) == checks.alone - checks.moved_by_company > 50
    assert [answer["intent"].label for answer in answers] == list(recorded.predicted)


def test_an_export_that_loses_more_than_the_margin_is_refused_with_figures(root: str, tmp_path: Path) -> None:
    """Another bundle's answers stand in for what the export must reach: these weights cannot."""
    publish_run(str(tmp_path), run="run-1", seed=1)
    (ours,), (theirs,) = (read_system_record(storage.join(place, RECORD)).bundles for place in (root, str(tmp_path)))
    mixed = str(tmp_path / "mixed.json")
    bundle = {"uri": ours.uri, "tasks": ["intent", "slots"], "evaluation": theirs.evaluation}
    storage.write_json(mixed, {"name": "mixed", "bundles": [bundle]})
    before = set(Path(root).rglob("*"))

    told = r"for backend 'torch-bf16' loses more than the 0.005 .*'intent' scores 0\.\d+ instead of 1\.0000 on 60 texts"
    with pytest.raises(EvaluationError, match=told):
        export_system(mixed, backend="torch-bf16", max_loss=0.005, output=str(tmp_path / "out.json"))

    assert set(Path(root).rglob("*")) == before  # nothing is left of what was refused


def test_exporting_again_reuses_and_the_same_record_comes_out(root: str, caplog: pytest.LogCaptureFixture) -> None:
    before = storage.read_json(exported(root, "onnx"))

    with caplog.at_level("INFO"):
        assert export_system(storage.join(root, RECORD), backend="onnx", max_loss=1.0) == exported(root, "onnx")

    assert storage.read_json(exported(root, "onnx")) == before
    assert any(message.startswith("reused export=") for message in caplog.messages)


def test_the_system_tells_what_computes(root: str) -> None:
    def backends(uri: str) -> list[str]:
        system: System = load_system(uri, device="cpu")
        return [part.backend for part in system.parts]

    assert backends(storage.join(root, RECORD)) == ["torch"]
    assert backends(exported(root, "onnx-int8")) == ["onnx-int8"]


def test_a_lone_bundle_needs_to_be_told_where_the_record_goes(root: str) -> None:
    (bundle,) = read_system_record(storage.join(root, RECORD)).bundles

    with pytest.raises(EvaluationError, match=r"is not the record of a system in a run.*\(--output\)"):
        export_system(bundle.uri, backend="onnx", max_loss=1.0)
    with pytest.raises(EvaluationError, match="the system's record names no evaluation of it"):
        export_system(bundle.uri, backend="onnx", max_loss=1.0, output=storage.join(root, "x.json"))


def test_an_export_of_another_bundle_is_not_loaded(root: str, tmp_path: Path) -> None:
    publish_run(str(tmp_path), run="run-1", seed=1)
    (bundle,) = read_system_record(exported(root, "onnx")).bundles
    (other,) = read_system_record(storage.join(str(tmp_path), RECORD)).bundles
    record = {"name": "mixed", "bundles": [{"uri": other.uri, "export": bundle.export}]}
    storage.write_json(str(tmp_path / "mixed.json"), record)

    with pytest.raises(BundleError, match=r"is an export of the bundle .* not of"):
        load_system(str(tmp_path / "mixed.json"))


def test_what_is_no_export_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"holds no {EXPORT_FILE}, so it is no export"):
        read_export(tmp_path)
    (tmp_path / EXPORT_FILE).write_text("{}")
    with pytest.raises(BundleError, match=r"'backend': Field required; .* reads exports of format 1"):
        read_export(tmp_path)
