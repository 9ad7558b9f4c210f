"""Checkpoints on storage: written whole while a job trains, found again after it died, gone when it is done.

The Trainer writes checkpoints into a local folder; each is published below `<job>/checkpoints/` as a write-once folder,
so that one cut off in mid upload has no manifest and is never believed. Optimizer and random-number state are torch
files, read with torch's `weights_only` loader, which runs no code (`training.zero` holds DeepSpeed to it); weights are
safetensors.

Several processes write one checkpoint. Those of the first node write into one folder; every other node publishes what
only its processes have (shards, random-number states) as `shards-<step>/node-<k>/` before the first node publishes
`checkpoint-<step>/`, so that a complete checkpoint has all its shards.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from taskmix import storage
from taskmix.training.processes import ALONE, World, wait_for_all

STATE_FILE = "trainer_state.json"
PER_PROCESS = ("rng_state*", "global_step*/*")
"""What each process writes of its own: random-number state, DeepSpeed's shards."""
logger = logging.getLogger(__name__)


class PublishCheckpoints(TrainerCallback):  # type: ignore[misc]  # transformers ships no types for callbacks
    """Publish each checkpoint below `uri`, and take away those that neither resume nor the best epoch needs.

    Args:
        uri: `<job>/checkpoints`.
        world: the processes that train.
    """

    def __init__(self, uri: str, *, world: World) -> None:
        self._uri = uri
        self._world = world

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Save at every epoch's end, whatever the steps between: the best epoch must be there to return to."""
        control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Publish the checkpoint just written, when every process has written its part."""
        assert args.output_dir is not None
        name = f"checkpoint-{state.global_step}"
        written = Path(args.output_dir) / name
        wait_for_all()
        if self._world.node and not self._world.local_rank:
            _publish_shards(written, storage.join(self._uri, _shards(name), f"node-{self._world.node}"))
        wait_for_all()
        if self._world.leads:
            self._publish(written, best=state.best_model_checkpoint)
        wait_for_all()

    def _publish(self, written: Path, *, best: str | None) -> None:
        name = written.name
        # The epoch's end may fall on a step already saved, then with the dev score known: the later one replaces it.
        storage.delete_prefix(storage.join(self._uri, name))
        storage.publish(written, storage.join(self._uri, name))
        kept = {name, Path(best or name).name}
        for old in checkpoint_names(self._uri):
            if old not in kept:
                storage.delete_prefix(storage.join(self._uri, old))
                storage.delete_prefix(storage.join(self._uri, _shards(old)))


def _shards(checkpoint: str) -> str:
    return checkpoint.replace("checkpoint-", "shards-")


def _publish_shards(written: Path, uri: str) -> None:
    """Publish what only this node's processes have written."""
    with tempfile.TemporaryDirectory(prefix="taskmix-shards-") as name:
        for path in (path for pattern in PER_PROCESS for path in written.glob(pattern)):
            target = Path(name) / path.relative_to(written)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
        storage.delete_prefix(uri)
        storage.publish(Path(name), uri)


def checkpoint_names(uri: str) -> list[str]:
    """Names of the complete checkpoints below `uri`, oldest first."""
    found = {entry.key.split("/")[0] for entry in storage.list_objects(uri) if entry.key.endswith("/MANIFEST.json")}
    return sorted((name for name in found if name.startswith("checkpoint-")), key=lambda name: int(name.split("-")[1]))


def restore_checkpoints(uri: str, folder: Path, *, world: World = ALONE) -> Path | None:
    """Fetch the newest complete checkpoint below `uri`, and the best one, into `folder`.

    Args:
        uri: `<job>/checkpoints`.
        folder: of this node; its first process fetches, and the others wait.
        world: the processes that train.

    Returns:
        The newest one's path, to resume from; None where there is none.
    """
    names = checkpoint_names(uri)
    wait_for_all()  # nobody publishes before everybody has looked
    if not names:
        return None
    if not world.local_rank:
        _restore(uri, folder, names=names)
    wait_for_all()
    if world.leads:
        logger.info("resuming from=%s", storage.join(uri, names[-1]))
    return folder / names[-1]


def _restore(uri: str, folder: Path, *, names: list[str]) -> None:
    newest = _fetch(uri, names[-1], folder)
    state = json.loads((newest / STATE_FILE).read_text(encoding="utf-8"))
    if state.get("best_model_checkpoint"):
        best = Path(state["best_model_checkpoint"]).name
        if best in names[:-1]:
            _fetch(uri, best, folder)
        # The Trainer records a local path, which was another folder's when the checkpoint was written.
        state["best_model_checkpoint"] = str(folder / best)
        (newest / STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


def _fetch(uri: str, name: str, folder: Path) -> Path:
    """A checkpoint with the shards of all nodes."""
    target = folder / name
    others = {entry.key.split("/")[0] for entry in storage.list_objects(storage.join(uri, _shards(name)))}
    parts = [storage.join(uri, name), *(storage.join(uri, _shards(name), node) for node in sorted(others))]
    for part in parts:
        with storage.local_copy(part) as source:
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("MANIFEST.json"), dirs_exist_ok=True)
    return target
