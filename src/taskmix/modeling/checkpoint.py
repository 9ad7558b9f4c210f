"""Pretrained weights from where a configuration says they are: a folder, s3://, or a hub; safetensors only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskmix import storage
from taskmix.errors import BundleError

WANTED_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
"""A checkpoint's configuration, tokenizer and weights; pickled weights (*.bin, *.pt) are never fetched."""


@contextmanager
def checkpoint_folder(checkpoint: str) -> Iterator[Path]:
    """A local folder with the checkpoint's configuration, tokenizer and safetensors.

    Args:
        checkpoint: a folder, `s3://bucket/prefix`, or `owner/name[@revision]` of the Hugging Face hub.

    Raises:
        BundleError: it cannot be had, or holds no safetensors.
    """
    if checkpoint.startswith("s3://"):
        with tempfile.TemporaryDirectory(prefix="taskmix-checkpoint-") as folder:
            _download(checkpoint, Path(folder))
            yield _checked(Path(folder), checkpoint)
    elif Path(checkpoint).is_dir():
        yield _checked(Path(checkpoint), checkpoint)
    else:
        yield _checked(_from_hub(checkpoint), checkpoint)


def load_backbone(folder: Path) -> Any:
    """The pretrained encoder in `folder`, in fp32.

    Raises:
        BundleError: transformers cannot make an encoder of it.
    """
    import torch
    from transformers import AutoModel

    try:
        backbone = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{folder}: transformers cannot load it as an encoder: {error}") from None
    return without_pooler(backbone)


def without_pooler(backbone: Any) -> Any:
    """The backbone without the pre-training pooler that BERT-like models carry: weights that no head of ours reads."""
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    return backbone


def checkpoint_version(checkpoint: str) -> str:
    """A short hash of what lies at a folder or s3:// now; a hub id stands for itself (pin it with @revision)."""
    if checkpoint.startswith("s3://") or Path(checkpoint).is_dir():
        return storage.source_version(checkpoint)
    return checkpoint


def _download(uri: str, folder: Path) -> None:
    store = storage.open_store(uri)
    for entry in store.list():
        if any(Path(entry.key).match(pattern) for pattern in WANTED_FILES):
            target = folder / entry.key
            target.parent.mkdir(parents=True, exist_ok=True)
            store.download(entry.key, target)


def _from_hub(checkpoint: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = checkpoint.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(WANTED_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BundleError(
            f"checkpoint '{checkpoint}' is no folder here and cannot be fetched from the hub: {reason}; "
            "give a folder, s3://bucket/prefix or owner/name@revision "
            "(--set models.<model>.checkpoint=...), or pre-fetch it with `hf download`"
        ) from None


def _checked(folder: Path, checkpoint: str) -> Path:
    if not (folder / "config.json").is_file():
        raise BundleError(f"checkpoint '{checkpoint}': has no config.json; give the folder of a transformers model")
    if not any(folder.glob("*.safetensors")):
        raise BundleError(
            f"checkpoint '{checkpoint}': has no *.safetensors; pickled weights are not read: "
            "convert them (save_pretrained writes safetensors)"
        )
    return folder
