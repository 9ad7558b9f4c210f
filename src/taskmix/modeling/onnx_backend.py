"""An encoder's forward pass in ONNX Runtime. Needs `onnxruntime` alone, which serving images have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from taskmix.errors import BundleError, MissingExtra
from taskmix.modeling.cores import usable_cores

IDS, MASK = "input_ids", "attention_mask"


class OnnxBackend:
    """A session of ONNX Runtime on the CPU; see `modeling.backends.Backend`.

    Args:
        path: the model: inputs `input_ids` and `attention_mask`, (batch, tokens) int64; an output a task.
        one_by_one: for dynamic quantization: the scale of its activations is taken over a whole batch.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
        BundleError: ONNX Runtime cannot load the model.
    """

    def __init__(self, path: Path, *, one_by_one: bool) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise MissingExtra(
                "this export runs on ONNX Runtime, which is not installed; pip install 'taskmix[serve]'"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only; its warnings are about graphs that run as they should
        self.one_by_one = one_by_one
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own exceptions have no common base
            raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}; export the bundle again") from None

    def __call__(self, ids_BT: Tensor, mask_BT: Tensor, *, tasks: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """See `Backend`."""
        outputs = self._session.run(list(tasks), {IDS: ids_BT.numpy(), MASK: mask_BT.numpy()})
        return dict(zip(tasks, outputs, strict=True))
