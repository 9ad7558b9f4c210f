"""Linear layers whose weights lie as a CPU's matrix product wants them: faster predictions with the same result.

torch hands weights on as they lie, which for the few rows of one short text costs about as much as the product itself.
In fp32 they are laid out by columns, which spares MKL a transposition. In bf16 they take oneDNN's own layout; torch's
compiler does that to frozen weights, with the same two operators, but needs a C++ compiler, which images do not have.
oneDNN keeps kernels for each number of rows (300 MiB in the course of `benchmarks/serving.py`), so fp32, which gains
little more by it, leaves it be. What both are worth: `benchmarks/packed_layers.py`.
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
        layout = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self._packed = layout  # no buffer: an opaque layout has no place in a state dict, and cannot be moved
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, input_BTD: Tensor) -> Tensor:
        """(..., features in) to (..., features out), in the weights' dtype."""
        output_BTE: Tensor = torch.ops.mkldnn._linear_pointwise(input_BTD, self._packed, self._bias, "none", [], "")
        return output_BTE


def pack_linears(module: nn.Module) -> None:
    """Lay out anew every linear layer of `module`, which is on the CPU and will only predict."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, packed(child))


def packed(linear: nn.Linear) -> nn.Module:
    """`linear` with the layout that its dtype gains by here; in fp32 the same module."""
    if linear.weight.dtype == torch.bfloat16 and can_pack():
        return PackedLinear(linear)
    by_columns = linear.weight.detach().t().contiguous().t()
    linear.weight = nn.Parameter(by_columns, requires_grad=False)
    return linear


def can_pack() -> bool:
    """Whether torch has oneDNN's layouts here: builds for x86 do."""
    has_layouts: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_layouts and platform.machine() in ("x86_64", "AMD64")
