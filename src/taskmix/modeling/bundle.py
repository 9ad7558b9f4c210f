"""A bundle: a trained job in one folder, which loads with nothing but itself.

`bundle.json` says what it is (the card); beside it lie the files of its kind: safetensors, tokenizer, vocabulary.
Nothing in a bundle is pickled. Training writes bundles; evaluation, serving and `taskmix predict` load them.
"""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from taskmix import __version__, storage
from taskmix.config.plan import JobSlice
from taskmix.config.schema import Name, Section
from taskmix.data.schema import LabelSpace
from taskmix.errors import BundleError
from taskmix.modeling.answers import Model, TaskHead

CARD_FILE = "bundle.json"
RECORDED_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "scikit-learn",
    "numpy",
    "openai",
    "onnxruntime",
)


class HeadCard(Section):
    """One task that the bundle answers."""

    type: Literal["classification", "slot_filling"]
    labels: tuple[str, ...]
    """The label space, in order of class index."""


class EpochRecord(Section):
    """What one pass over the mixture (or one value of a searched setting) came to."""

    epoch: float
    setting: str | None = None
    """The value tried, where a setting was searched rather than epochs run."""
    loss: float | None = None
    dev_scores: dict[str, float] = Field(default_factory=dict)
    """Task to its primary score on dev, in [0, 1]."""
    seconds: float = 0.0


class TrainingRecord(Section):
    """How the training run went."""

    seconds: float
    epochs: float
    parameters: int
    """Weights of the model, frozen ones too."""
    precision: str = "fp32"
    tokens_per_s: float | None = None
    """Of all processes together, padding not counted; null where nothing counted them."""
    peak_memory_gib: float | None = None
    """Of the first process: of its GPU, or of the host where there is none."""
    history: tuple[EpochRecord, ...] = ()


class BundleCard(Section):
    """The content of `bundle.json`."""

    format: Literal[1] = 1
    kind: Literal["linear", "encoder", "decoder", "api"]
    job: JobSlice
    heads: dict[Name, HeadCard]
    temperatures: dict[Name, float]
    """Task to the temperature that its logits are divided by (fitted on dev)."""
    rejection_thresholds: dict[Name, float]
    """Classification task to the probability below which a text counts as out of scope."""
    training: TrainingRecord
    versions: dict[str, str]

    @property
    def task_heads(self) -> dict[str, TaskHead]:
        """The heads in the form that models use."""
        return {task: TaskHead(task, head.type, LabelSpace(head.labels)) for task, head in self.heads.items()}


def head_cards(heads: dict[str, TaskHead]) -> dict[str, HeadCard]:
    """Task heads in the form that a card holds."""
    return {task: HeadCard(type=head.type, labels=head.labels.labels) for task, head in heads.items()}


def installed_versions() -> dict[str, str]:
    """Versions of Python, taskmix and the packages that decide a result, those that are installed."""
    versions = {"python": platform.python_version(), "taskmix": __version__}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def write_card(card: BundleCard, folder: Path) -> None:
    """Write `bundle.json` into `folder`."""
    text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> BundleCard:
    """The card of the bundle in `folder`.

    Raises:
        BundleError: there is no card, or it is not of this version.
    """
    path = folder / CARD_FILE
    try:
        return BundleCard.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(
            f"{folder}: holds no {CARD_FILE}, so it is no bundle; give the folder of a trained job"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"{path}: '{where}': {first['msg']}; taskmix {__version__} reads bundles of format 1: "
            "load it with the version that wrote it, or train again"
        ) from None


def answers_folder(bundle: str, card: BundleCard) -> str:
    """URI of the folder beside a job's runs where answers lie that were paid for; it outlives changes of the recipe."""
    return storage.join(bundle.rstrip("/").rsplit("/", 2)[0], "answers", str(card.job.seed))


def load_model(folder: Path, *, device: str = "auto", answers: str | None = None, keep: bool = False) -> Model:
    """The trained model in `folder`, ready to predict.

    Args:
        folder: a bundle, local and complete (see `storage.local_copy`).
        device: `auto` (a GPU where there is one), or torch's name of a device.
        answers: URI where an API model's paid answers lie, see `answers_folder`; other models have none.
        keep: whether it keeps new answers there.

    Raises:
        BundleError: a part is missing or does not belong to the card.
        ApiError: an API model's key is not in the environment.
    """
    card = read_card(folder)
    match card.kind:
        case "linear":
            from taskmix.modeling.linear import load_linear

            return load_linear(folder, card)
        case "encoder":
            from taskmix.modeling.encoder import load_encoder

            return load_encoder(folder, card, device=device)
        case "decoder":
            from taskmix.modeling.decoder import load_decoder

            return load_decoder(folder, card, device=device)
        case "api":
            from taskmix.modeling.api.model import load_api

            return load_api(folder, card, answers=answers, keep=keep)
