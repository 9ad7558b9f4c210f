"""A system, loaded: one model over one or several bundles, whatever their number.

`load_system` takes any name that a system goes by on storage: a bundle, a job, the system's own record, a release or a
champion. Serving and `taskmix predict` use it, so that neither knows how many models stand behind an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taskmix import storage
from taskmix.errors import BundleError, Corrupt, NotFound, UnknownTask
from taskmix.modeling.answers import Answer, Model, TaskHead
from taskmix.modeling.bundle import CARD_FILE, BundleCard, answers_folder, load_model, read_card
from taskmix.modeling.exports import ExportCard, load_with, read_export

BUNDLE_FOLDER = "bundle"
CHAMPION_FILE = "champion.json"
SYSTEM_FILE = "system.json"
"""In the folder of a release that is ready to be served: its record, with the bundles' URIs seen from the folder."""


class BundleRecord(BaseModel):
    """One bundle of a system, as the system's record names it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    uri: str
    tasks: tuple[str, ...] | None = Field(None, min_length=1)
    """What the system asks of this bundle, which may know more; null asks all that it knows."""
    manifest: str | None = None
    """sha256 of its manifest; null for a bundle that no record vouches for."""
    evaluation: str | None = None
    """URI of the evaluation that its scores come from."""
    export: str | None = None
    """URI of an export of it (`modeling.exports`), which answers in its place; null answers with torch in fp32."""
    export_manifest: str | None = None
    """sha256 of the export's manifest."""


class SystemRecord(BaseModel):
    """The content of `runs/<run>/systems/<model>.<grouping>.json`, as far as loading and serving need it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    bundles: tuple[BundleRecord, ...] = Field(min_length=1)
    run: str | None = None

    @property
    def hashes(self) -> frozenset[tuple[str, tuple[str, ...]]]:
        """Each bundle's hash with what is asked of it; empty where the record vouches not for every bundle's bytes."""
        if any(bundle.manifest is None for bundle in self.bundles):
            return frozenset()
        return frozenset((str(bundle.manifest), tuple(sorted(bundle.tasks or ()))) for bundle in self.bundles)


@dataclass(frozen=True)
class Part:
    """A loaded bundle and what the system asks of it.

    Attributes:
        uri: where the bundle lies.
        manifest: sha256 of its manifest: one value that stands for its bytes.
        tasks: the tasks that it answers here.
        model: the bundle, loaded.
        card: the bundle's card; holds the rejection thresholds.
        export: the card of the export that computes; null where the bundle does itself.
    """

    uri: str
    manifest: str
    tasks: tuple[str, ...]
    model: Model
    card: BundleCard
    export: ExportCard | None = None

    @property
    def backend(self) -> str:
        """What computes its answers, for people."""
        return self.export.backend if self.export else {"linear": "numpy", "api": "api"}.get(self.card.kind, "torch")


class System:
    """One model over its parts: an implementation of `modeling.answers.Model`.

    Args:
        parts: the bundles; no task is answered by two of them.
        name: for people, e.g. `minilm/merged`.
    """

    def __init__(self, parts: Sequence[Part], *, name: str) -> None:
        self.name = name
        self.parts = tuple(parts)
        self._parts = {task: part for part in parts for task in part.tasks}
        assert len(self._parts) == sum(len(part.tasks) for part in parts), "a task is answered by two parts"
        self.heads: Mapping[str, TaskHead] = {task: part.model.heads[task] for task, part in self._parts.items()}
        self.cards: Mapping[str, BundleCard] = {task: part.card for task, part in self._parts.items()}

    @property
    def one_by_one(self) -> bool:
        """Whether every part answers texts one by one, so that company shortens nobody's wait."""
        return all(part.export is not None and part.export.one_by_one for part in self.parts)

    def predict(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[dict[str, Answer]]:
        """Answer `tasks` (default: all) for each text, asking each bundle only for its own.

        Raises:
            UnknownTask: a task is not one of `heads`.
        """
        asked = tuple(self.heads) if tasks is None else tuple(dict.fromkeys(tasks))
        for task in asked:
            if task not in self.heads:
                raise UnknownTask(f"task '{task}' is not one of {list(self.heads)}, which '{self.name}' answers")
        gathered: list[dict[str, Answer]] = [{} for _ in texts]
        for part in self.parts:
            share = [task for task in asked if self._parts[task] is part]
            if not share:
                continue
            for into, answers in zip(gathered, part.model.predict(texts, tasks=share), strict=True):
                into.update(answers)
        return [{task: answers[task] for task in asked} for answers in gathered]

    def rejection_threshold(self, task: str) -> float:
        """The probability below which a text counts as out of the task's scope; 0 where the bundle sets none."""
        return self.cards[task].rejection_thresholds.get(task, 0.0)


def load_system(uri: str, *, device: str = "auto") -> System:
    """The system that `uri` names, ready to predict; every byte of it is verified against its manifest.

    Args:
        uri: a bundle's folder, a job's folder, a system's record (`runs/<run>/systems/*.json`), a release
            (`deployments/<name>/history/*.json`), a champion (`deployments/<name>/champion.json`) or its folder, or the
            folder that a cluster's servers are given (`deployments/<name>/releases/<run>`).
        device: `auto` (a GPU where there is one), or torch's name of a device.

    Raises:
        NotFound: `uri` names none of these.
        BundleError: a bundle cannot be loaded, lacks a task, or is no longer the one that the record vouches for.
        Corrupt: a record or a bundle's bytes are not what they must be.
    """
    record = read_system_record(uri)
    return System([_load_part(bundle, device=device) for bundle in record.bundles], name=record.name)


def read_system_record(uri: str) -> SystemRecord:
    """What the system at `uri` is made of, read from its record, or made up for a lone bundle. See `load_system`.

    Raises:
        NotFound: `uri` names no bundle, job or record.
        Corrupt: the record is not one of a system.
    """
    if uri.endswith(".json"):
        return parse_system_record(storage.read_json(uri), uri=uri)
    for folder in (uri, storage.join(uri, BUNDLE_FOLDER)):
        if storage.exists(storage.join(folder, CARD_FILE)):
            return SystemRecord(name=uri.rstrip("/").rpartition("/")[2], bundles=(BundleRecord(uri=folder),))
    served = storage.join(uri, SYSTEM_FILE)
    if storage.exists(served):
        record = parse_system_record(storage.read_json(served), uri=served)
        return record.model_copy(update={"bundles": tuple(_seen_from(uri, part) for part in record.bundles)})
    champion = storage.join(uri, CHAMPION_FILE)
    if storage.exists(champion):
        return parse_system_record(storage.read_json(champion), uri=champion)
    raise NotFound(
        f"{storage.redact(uri)}: holds no {CARD_FILE}, no {BUNDLE_FOLDER}/{CARD_FILE} and no {CHAMPION_FILE}; give a "
        "bundle, a job that is trained, a deployment, or the .json record of a system, a release or a champion"
    )


def _seen_from(folder: str, part: BundleRecord) -> BundleRecord:
    """A bundle's record in a release's folder, its URIs made whole."""
    export = storage.join(folder, part.export) if part.export else None
    return part.model_copy(update={"uri": storage.join(folder, part.uri), "export": export})


def parse_system_record(value: Any, *, uri: str) -> SystemRecord:
    """The system in a record: the record of a system itself, or of a release or champion, which hold one.

    Raises:
        Corrupt: there is none in it.
    """
    try:
        return SystemRecord.model_validate(value["record"] if isinstance(value, dict) and "record" in value else value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise Corrupt(
            f"{storage.redact(uri)}: is no record of a system, a release or a champion: {where}: {first['msg']}; "
            "give the URI of one, or run the pipeline again"
        ) from None


def _load_part(record: BundleRecord, *, device: str) -> Part:
    manifest = _vouched(record.uri, expected=record.manifest)
    with storage.local_copy(record.uri) as folder:
        card = read_card(folder)
        tasks = record.tasks or tuple(card.heads)
        if missing := [task for task in tasks if task not in card.heads]:
            raise BundleError(
                f"{storage.redact(record.uri)}: answers {list(card.heads)}, but the system's record asks it for "
                f"{missing}; run the pipeline again"
            )
        if record.export is None:
            model = load_model(folder, device=device, answers=answers_folder(record.uri, card))
            return Part(record.uri, manifest, tasks, model, card)
        _vouched(record.export, expected=record.export_manifest)
        with storage.local_copy(record.export) as exported:
            export = read_export(exported)
            if export.bundle != manifest:
                raise BundleError(
                    f"{storage.redact(record.export)}: is an export of the bundle {export.bundle[:12]}..., not of "
                    f"{storage.redact(record.uri)}, {manifest[:12]}...; export the system again"
                )
            model = load_with(export.backend, folder, card, export=exported, device=device)
            return Part(record.uri, manifest, tasks, model, card, export)


def _vouched(uri: str, *, expected: str | None) -> str:
    """The sha256 of the manifest at `uri`.

    Raises:
        BundleError: it is not the one that the record vouches for.
    """
    manifest = storage.read_manifest(uri).sha256
    if expected not in (None, manifest):
        raise BundleError(
            f"{storage.redact(uri)}: its manifest's sha256 is {manifest[:12]}..., the record vouches for "
            f"{str(expected)[:12]}...: the bundle was replaced since; run the pipeline again"
        )
    return manifest
