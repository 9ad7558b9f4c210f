"""Exports: other ways to compute what a bundle answers, each evaluated and found good enough.

An export lies beside its bundle, which is written once: `<job>/exports/<hash>/` with `export.json` (the card), the
ONNX model where there is one, and `predictions/<task>.parquet`, what it answered to the evaluation's texts. A system's
record names it; evaluation writes it (`evaluation.exports`); loading it is here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from taskmix import __version__
from taskmix.config.schema import Name, Section
from taskmix.errors import BundleError
from taskmix.modeling.answers import Model
from taskmix.modeling.bundle import BundleCard

EXPORT_FILE = "export.json"
ONNX_FILE = "model.onnx"
BackendName = Literal["torch-bf16", "onnx", "onnx-int8"]


class TaskCheck(Section):
    """How an export's answers to one task compare with the bundle's own, in fp32."""

    texts: int
    reference: float
    """Primary score of the bundle's own answers, in [0, 1]."""
    score: float
    """Primary score of the export's."""
    agreement: float
    """Share of texts with the same answer."""
    alone: int
    """Texts that were asked alone as well as in batches."""
    moved_by_company: int
    """Of these, the texts whose answer was another in a batch; they are not among the recorded predictions."""


ONE_BY_ONE = frozenset({"onnx-int8"})
"""Backends whose texts share no forward pass: the scale of int8's activations is taken over a whole batch."""


class ExportCard(Section):
    """The content of `export.json`."""

    format: Literal[1] = 1
    backend: BackendName
    bundle: str
    """sha256 of the bundle's manifest."""
    evaluation: str
    """URI of the evaluation that holds the texts and the bundle's own answers."""
    max_loss: float
    """What each task's primary score may lose, in [0, 1]."""
    checks: dict[Name, TaskCheck]
    probability_tolerance: float
    """How far a probability may lie from the recorded one: the batch that a text shares moves it so much."""
    versions: dict[str, str]

    @property
    def one_by_one(self) -> bool:
        """Whether texts share no forward pass; see `modeling.backends.Backend`."""
        return self.backend in ONE_BY_ONE


def read_export(folder: Path) -> ExportCard:
    """The card of the export in `folder`.

    Raises:
        BundleError: there is none, or it is not of this version.
    """
    path = folder / EXPORT_FILE
    try:
        return ExportCard.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{folder}: holds no {EXPORT_FILE}, so it is no export; export the bundle again") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"{path}: '{where}': {first['msg']}; taskmix {__version__} reads exports of format 1: export it again"
        ) from None


def load_with(backend: BackendName, folder: Path, card: BundleCard, *, export: Path, device: str = "auto") -> Model:
    """The encoder in the bundle's `folder`, computed by `backend`.

    Args:
        backend: what computes.
        folder: of the bundle: tokenizer, and weights for torch.
        card: the bundle's.
        export: folder of the export: the ONNX model.
        device: for torch; ONNX Runtime runs on the CPU.

    Raises:
        BundleError: the bundle is no encoder, or a part is missing.
        MissingExtra: ONNX Runtime is not installed.
    """
    from taskmix.modeling.encoder import EncoderModel, load_encoder
    from taskmix.modeling.tokens import load_tokenizer

    if card.kind != "encoder":
        raise BundleError(f"{folder}: is a bundle of kind '{card.kind}'; only encoders have other backends than torch")
    if backend == "torch-bf16":
        return load_encoder(folder, card, device=device, precision="bf16")
    from taskmix.modeling.onnx_backend import OnnxBackend

    path = export / ONNX_FILE
    if not path.is_file():
        raise BundleError(f"{path}: is missing; export the bundle again")
    session = OnnxBackend(path, one_by_one=backend in ONE_BY_ONE)
    return EncoderModel(session, tokenizer=load_tokenizer(folder), card=card)
