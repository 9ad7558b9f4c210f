"""An encoder written as ONNX, in fp32 or with int8 weights. Needs `onnx` and `onnxscript`, as training images have."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from taskmix.errors import BundleError, MissingExtra
from taskmix.modeling.encoder import MultiTaskEncoder
from taskmix.modeling.onnx_backend import IDS, MASK

OPSET = 20
MOST_BATCH = 4096
"""Upper end of the exported batch dimension; far above any batch of ours."""


class _Columns(nn.Module):
    """The encoder with its logits as a tuple, in the order of its heads: what torch's exporter takes."""

    def __init__(self, module: MultiTaskEncoder) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.module(input_ids, attention_mask).values())


def write_onnx(module: MultiTaskEncoder, path: Path, *, max_tokens: int) -> None:
    """Write the encoder in fp32: any batch, any number of tokens up to `max_tokens`, an output a task.

    Attention is written plainly: ONNX has no operator for torch's fused one, which becomes the same products and some
    checks for rows that see nothing. `module` computes it so from here on.

    Raises:
        MissingExtra: the packages that write ONNX are not installed.
        BundleError: torch cannot export this architecture.
    """
    ids_BT = torch.arange(3 * 14).reshape(3, 14) % 7  # an example; sizes 0 and 1 would be taken for constants
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 9:] = 0
    batch, tokens = torch.export.Dim("batch", min=1, max=MOST_BATCH), torch.export.Dim("tokens", min=2, max=max_tokens)
    axes = {0: batch, 1: tokens}
    module.backbone.set_attn_implementation("eager")
    columns = _Columns(module).eval()
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                columns,
                (ids_BT, mask_BT),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={IDS: axes, MASK: axes},
                input_names=[IDS, MASK],
                output_names=list(module.types),
                external_data=False,
                verbose=False,
            )
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"exporting to ONNX needs the package '{error.name}'; pip install 'taskmix[train]'"
        ) from None
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise BundleError(f"torch cannot export this encoder to ONNX: {reason}; deploy with backend torch") from None
    assert program is not None
    _save_without_value_info(program.model_proto, path)


def quantize(path: Path, target: Path) -> None:
    """Write the ONNX model at `path` with int8 weights, a scale a channel; activations are quantized as they come.

    Raises:
        MissingExtra: the packages that write ONNX are not installed.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ModuleNotFoundError as error:
        raise MissingExtra(f"quantizing ONNX needs the package '{error.name}'; pip install 'taskmix[train]'") from None
    with _quiet_exporter():
        quantize_dynamic(path, target, weight_type=QuantType.QInt8, per_channel=True)


def _save_without_value_info(model: Any, path: Path) -> None:
    """Save it without the shapes of inner tensors, which torch's exporter writes and the quantizer trips on."""
    import onnx

    del model.graph.value_info[:]
    onnx.save(model, path)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the warnings of exporter and quantizer, all about their own insides or packages that nobody needs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
