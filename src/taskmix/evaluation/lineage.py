"""Where a run's every artifact comes from: `lineage.json`, in the form of W3C PROV-JSON; written here, checked here.

Entities are what lies on storage (with hash) or came from outside (with version), activities are the steps, the agent
is the code. Places are told from the storage's root on, so a storage that was copied or renamed can be verified where
it lies now. The same run gives the same bytes. PROV-JSON: https://www.w3.org/submissions/prov-json/
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from taskmix import __version__, storage
from taskmix.config.plan import make_plan
from taskmix.errors import Corrupt, NotFound
from taskmix.evaluation.checks import Check, Opponent
from taskmix.evaluation.report.model import JobRow, Report, read_report

log = logging.getLogger(__name__)

LINEAGE_FILE = "lineage.json"
GATE_FILE = "gate.json"
PREFIX = {"prov": "http://www.w3.org/ns/prov#", "taskmix": "urn:taskmix:"}
CODE = "taskmix:code"


def write_lineage(report: str) -> str:
    """Write `lineage.json` of a run from what lies on storage now; written again, it holds what came since (the gate).

    Args:
        report: URI of the run's report, `<storage>/runs/<run>/report`.

    Returns:
        URI of the lineage.
    """
    content = read_report(report)
    uri = storage.join(content.config.storage, "runs", content.run, LINEAGE_FILE)
    value = make_lineage(content)
    storage.write_json(uri, value, replace=True)
    digest = hashlib.sha256(storage.read_bytes(uri)).hexdigest()
    log.info("recorded lineage=%s entities=%d sha256=%s", uri, len(value["entity"]), digest)
    return uri


def make_lineage(report: Report) -> dict[str, Any]:
    """The lineage of the run that `report` tells of, as PROV-JSON."""
    record = _Record(report)
    record.entity(CODE, "code", kind="agent", version=__version__, sha256=code_digest())
    record.object("taskmix:config", f"runs/{report.run}/config.json")
    for dataset in report.datasets:
        record.dataset(dataset.name, dataset.uri, dataset.card)
    for job in report.jobs:
        record.job(job)
    record.benchmark()
    verdict = storage.join(report.config.storage, "runs", report.run, GATE_FILE)
    if storage.exists(verdict):
        record.object("taskmix:gate.json", f"runs/{report.run}/{GATE_FILE}")
        record.gate(storage.read_json(verdict))
    return record.content()


@dataclass(frozen=True)
class Audit:
    """What hashing a run again came to.

    Attributes:
        lineage: URI of `lineage.json`.
        sha256: of its bytes: what a reader compares with the hash that the run told when it wrote it.
        artifacts: how many were hashed.
        faults: one sentence for each thing that is not as it was.
    """

    lineage: str
    sha256: str
    artifacts: int
    faults: tuple[str, ...]


def verify_run(run: str) -> Audit:
    """Hash again all that a run made and was made of, wherever its storage lies now.

    Args:
        run: URI of the run's folder, `<storage>/runs/<run>`.

    Raises:
        NotFound: it has no lineage.
        Corrupt: the lineage cannot be read.
    """
    root = _root_of(run)
    uri = storage.join(run, LINEAGE_FILE)
    try:
        data = storage.read_bytes(uri)
    except NotFound:
        raise NotFound(
            f"{storage.redact(uri)}: is not there; give <storage>/runs/<run> of a run whose benchmark was made"
        ) from None
    entities = storage.read_json(uri).get("entity")
    if not isinstance(entities, dict):
        raise Corrupt(f"{storage.redact(uri)}: holds no entities, so it is no lineage; run the pipeline again")
    faults, count = [], 0
    for entity in entities.values():
        if "taskmix:location" not in entity:
            continue
        count += 1
        place = storage.join(root, entity["taskmix:location"])
        if entity["taskmix:form"] == "folder":
            faults += storage.folder_faults(place, manifest_sha256=entity["taskmix:sha256"])
        else:
            faults += storage.object_faults(place, sha256=entity["taskmix:sha256"])
    return Audit(uri, hashlib.sha256(data).hexdigest(), count, tuple(faults))


def _root_of(run: str) -> str:
    """The storage that the run at `<storage>/runs/<run>` lies in."""
    runs = run.rstrip("/").rpartition("/")[0]
    if runs != "runs" and not runs.endswith("/runs"):
        raise NotFound(f"{storage.redact(run)}: is no run's folder; give <storage>/runs/<run>")
    return runs.removesuffix("runs").rstrip("/") or ("/" if runs.startswith("/") else ".")


@cache
def code_digest() -> str:
    """Sha256 over every source file of this installation of taskmix."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@dataclass
class _Record:
    """The lineage in the making."""

    report: Report
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        return {"prefix": PREFIX, **self.sections}

    def dataset(self, name: str, uri: str, card: dict[str, Any]) -> None:
        source = f"taskmix:sources/{name}"
        origin = card.get("source", {}).get("uri") or card.get("config", {}).get("path") or "written by taskmix"
        self.entity(source, "source", origin=storage.redact(str(origin)), version=card["version"])
        self.folder(f"taskmix:datasets/{name}", uri)
        plan = make_plan(self.report.config)
        self.step(
            f"taskmix:ingest/{name}",
            uses=[source, "taskmix:config"],
            makes=[f"taskmix:datasets/{name}"],
            slice=plan.dataset_slice(name).model_dump(mode="json"),
        )

    def job(self, job: JobRow) -> None:
        """Training and evaluation of one job."""
        plan = make_plan(self.report.config)
        planned = next(one for one in plan.jobs if one.name == job.name)
        datasets = list(dict.fromkeys(self.report.config.tasks[task].dataset for task in job.tasks))
        data = [f"taskmix:datasets/{name}" for name in datasets]
        bundle, evaluation = f"taskmix:bundles/{job.name}", f"taskmix:evaluations/{job.name}"
        self.folder(bundle, job.bundle, sha256=job.manifest)
        self.folder(evaluation, job.evaluation)
        slice = plan.job_slice(planned)
        checkpoint = getattr(slice.model, "checkpoint", None)
        weights = [] if checkpoint is None else [f"taskmix:checkpoints/{planned.model}"]
        if checkpoint is not None:
            self.entity(weights[0], "checkpoint", origin=storage.redact(checkpoint))
        self.step(
            f"taskmix:finetune/{job.name}",
            uses=[*data, *weights, "taskmix:config"],
            makes=[bundle],
            slice=slice.model_dump(mode="json"),
            versions=job.versions,
            fingerprint=job.bundle.rstrip("/").split("/")[-2],
            reused_from=job.reused_from,
        )
        self.step(
            f"taskmix:evaluate/{job.name}",
            uses=[bundle, *data, "taskmix:config"],
            makes=[evaluation],
            slice=plan.evaluation_slice().model_dump(mode="json"),
            machine=job.machine,
        )

    def benchmark(self) -> None:
        """Systems and report."""
        run = self.report.run
        evaluations = [f"taskmix:evaluations/{job.name}" for job in self.report.jobs]
        made = ["taskmix:report"]
        for row in self.report.systems:
            made.append(f"taskmix:systems/{row.name}")
            self.object(made[-1], f"runs/{run}/systems/{row.model}.{row.grouping}.json")
        self.folder("taskmix:report", storage.join(self.report.config.storage, "runs", run, "report"))
        self.step("taskmix:benchmark", uses=[*evaluations, "taskmix:config"], makes=made, ended=self.report.created)

    def gate(self, verdict: dict[str, Any]) -> None:
        """The verdict, whose answers it compares with, and the pinned examples that the gate asked bundles for."""
        uses = ["taskmix:report", "taskmix:config"]
        found = [one for check in verdict["checks"] for one in Check.model_validate(check).opponents]
        uses += [self.opponent(one) for one in dict.fromkeys(found)]
        pinned = self.report.config.gate.regression_set
        if pinned:
            uses += [f"taskmix:bundles/{job}" for job in self.report.best.jobs]
        if isinstance(pinned, str):
            uses.append("taskmix:sources/regression set")
            self.entity(uses[-1], "source", origin=storage.redact(pinned), version=storage.source_version(pinned))
        champion = {key: verdict[key] for key in ("champion", "champion_run")}
        self.step("taskmix:gate", uses=uses, makes=["taskmix:gate.json"], **champion)

    def opponent(self, opponent: Opponent) -> str:
        """The champion's answers, and how the gate came by them where it asked again; the name of their entity."""
        row = next((row for row in self.report.jobs if row.evaluation == opponent.evaluation), None)
        if row is not None:
            return f"taskmix:evaluations/{row.name}"
        evaluation, bundle = (f"taskmix:champion/{kind}/{opponent.job}" for kind in ("evaluations", "bundles"))
        self.folder(evaluation, opponent.evaluation, sha256=opponent.evaluation_manifest)
        if opponent.again:
            self.folder(bundle, opponent.bundle, sha256=opponent.manifest)
            tasks = self.report.config.tasks
            datasets = dict.fromkeys(tasks[task].dataset for task in opponent.tasks if task in tasks)
            self.step(
                f"taskmix:gate/evaluate/{opponent.job}",
                uses=[bundle, *(f"taskmix:datasets/{name}" for name in datasets), "taskmix:config"],
                makes=[evaluation],
                slice=make_plan(self.report.config).evaluation_slice().model_dump(mode="json"),
            )
        return evaluation

    def folder(self, name: str, uri: str, *, sha256: str | None = None) -> None:
        """An entity that is a published folder; its hash is that of its manifest, which holds those of its files.

        One that lies on another storage (a champion of before this storage was copied) has no place from the root on.
        """
        found = sha256 or storage.read_manifest(uri).sha256
        root = self.report.config.storage.rstrip("/") + "/"
        if uri.startswith(root):
            self.entity(name, "folder", form="folder", location=uri.removeprefix(root), sha256=found)
        else:
            self.entity(name, "folder", origin=storage.redact(uri), sha256=found)

    def object(self, name: str, location: str) -> None:
        """An entity that is a single object."""
        data = storage.read_bytes(storage.join(self.report.config.storage, location))
        self.entity(name, "object", form="object", location=location, sha256=hashlib.sha256(data).hexdigest())

    def entity(self, name: str, type: str, *, kind: Literal["entity", "agent"] = "entity", **facts: Any) -> None:
        label = "prov:SoftwareAgent" if kind == "agent" else f"taskmix:{type}"
        self._put(kind, name, {"prov:type": label, **{f"taskmix:{key}": value for key, value in facts.items()}})

    def step(self, name: str, *, uses: list[str], makes: list[str], ended: str | None = None, **facts: Any) -> None:
        """An activity, by this code, and its relations."""
        told = {f"taskmix:{key}": value for key, value in facts.items() if value is not None}
        self._put("activity", name, told if ended is None else {"prov:endTime": ended, **told})
        self._relate("wasAssociatedWith", {"prov:activity": name, "prov:agent": CODE})
        for used in uses:
            self._relate("used", {"prov:activity": name, "prov:entity": used})
        for made in makes:
            self._relate("wasGeneratedBy", {"prov:entity": made, "prov:activity": name})

    def _put(self, section: str, name: str, value: dict[str, Any]) -> None:
        self.sections.setdefault(section, {})[name] = value

    def _relate(self, relation: str, value: dict[str, Any]) -> None:
        known = self.sections.setdefault(relation, {})
        known[f"_:{relation}{len(known) + 1}"] = value
