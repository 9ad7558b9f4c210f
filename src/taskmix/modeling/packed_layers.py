"""Linear layers whose weights lie as oneDNN wants them: what a CPU predicts with, faster and with the same result.

torch hands a layer's weights to its matrix product as they lie, which for the few rows of one short text costs more
than the product. Laid out once, they take less of its time (`benchmarks/packed_layers.py`). torch's own compiler does
the same to frozen weights, with these two operators, but needs a C++ compiler, which images do not have.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn

ROWS = 16
"""For which oneDNN chooses the layout: about the tokens of one short text. Any other than 1 was found as fast."""


class PackedLinear(nn.Module):
    """A linear layer, for prediction alone: its weights are nobody else's to read."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self._packed = packed  # no buffer: an opaque layout has no place in a state dict, and cannot be moved
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, input_BTD: Tensor) -> Tensor:
        """(..., features in) to (..., features out), in the weights' dtype."""
        output_BTE: Tensor = torch.ops.mkldnn._linear_pointwise(input_BTD, self._packed, self._bias, "none", [], "")
        return output_BTE


def pack_linears(module: nn.Module) -> None:
    """Replace every linear layer of `module`, which is on the CPU and will only predict, where this CPU gains by it."""
    if not can_pack():
        return
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear(child))


def can_pack() -> bool:
    """Whether torch has oneDNN's layouts here: builds for x86 do."""
    has_layouts: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_layouts and platform.machine() in ("x86_64", "AMD64")
