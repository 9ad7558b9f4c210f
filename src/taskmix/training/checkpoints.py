"""Checkpoints on storage: written whole while a job trains, found again after it died, gone when it is done.

The Trainer writes checkpoints into a local folder; each is published below `<job>/checkpoints/` as a write-once folder,
so that one cut off in mid upload has no manifest and is never believed. Optimizer and random-number state are torch
files, read by the Trainer with torch's `weights_only` loader, which runs no code; weights are safetensors.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from taskmix import storage

STATE_FILE = "trainer_state.json"
logger = logging.getLogger(__name__)


class PublishCheckpoints(TrainerCallback):  # type: ignore[misc]  # transformers ships no types for callbacks
    """Publish each checkpoint below `uri`, and take away those that neither resume nor the best epoch needs.

    Args:
        uri: `<job>/checkpoints`.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Save at every epoch's end, whatever the steps between: the best epoch must be there to return to."""
        control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Publish the checkpoint just written."""
        if not state.is_world_process_zero:
            return
        assert args.output_dir is not None
        name = f"checkpoint-{state.global_step}"
        # The epoch's end may fall on a step already saved, then with the dev score known: the later one replaces it.
        storage.delete_prefix(storage.join(self._uri, name))
        storage.publish(Path(args.output_dir) / name, storage.join(self._uri, name))
        kept = {name, Path(state.best_model_checkpoint or name).name}
        for old in checkpoint_names(self._uri):
            if old not in kept:
                storage.delete_prefix(storage.join(self._uri, old))


def checkpoint_names(uri: str) -> list[str]:
    """Names of the complete checkpoints below `uri`, oldest first."""
    found = {entry.key.split("/")[0] for entry in storage.list_objects(uri) if entry.key.endswith("/MANIFEST.json")}
    return sorted((name for name in found if name.startswith("checkpoint-")), key=lambda name: int(name.split("-")[1]))


def restore_checkpoints(uri: str, folder: Path) -> Path | None:
    """Fetch the newest complete checkpoint below `uri`, and the best one, into `folder`.

    Returns:
        The newest one's path, to resume from; None where there is none.
    """
    names = checkpoint_names(uri)
    if not names:
        return None
    newest = _fetch(storage.join(uri, names[-1]), folder / names[-1])
    state = json.loads((newest / STATE_FILE).read_text(encoding="utf-8"))
    if state.get("best_model_checkpoint"):
        best = Path(state["best_model_checkpoint"]).name
        if best in names[:-1]:
            _fetch(storage.join(uri, best), folder / best)
        # The Trainer records a local path, which was another folder's when the checkpoint was written.
        state["best_model_checkpoint"] = str(folder / best)
        (newest / STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    logger.info("resuming from=%s", storage.join(uri, names[-1]))
    return newest


def _fetch(uri: str, target: Path) -> Path:
    with storage.local_copy(uri) as source:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("MANIFEST.json"))
    return target
