import pytest
import torch
from torch import nn

from taskmix.modeling.packed_layers import PackedLinear, can_pack, pack_linears

pytestmark = pytest.mark.skipif(not can_pack(), reason="this CPU's torch has none of oneDNN's layouts")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_packed_layers_compute_what_the_layers_did(dtype: torch.dtype, tolerance: float, bias: bool) -> None:
    torch.manual_seed(13)
    module = nn.Sequential(nn.Linear(48, 96, bias=bias), nn.GELU(), nn.ModuleDict({"head": nn.Linear(96, 7)})["head"])
    module = module.to(dtype)
    with torch.inference_mode():
        for rows in (1, 14, 300):
            input_BTD = torch.randn(2, rows, 48, dtype=dtype)
            before = module(input_BTD)
            packed = nn.Sequential(*(PackedLinear(part) if isinstance(part, nn.Linear) else part for part in module))
            assert packed(input_BTD).shape == before.shape
            torch.testing.assert_close(packed(input_BTD), before, atol=tolerance, rtol=tolerance)


def test_every_linear_layer_is_packed_and_no_other() -> None:
    class Own(nn.Linear):
        """A layer with a forward pass of its own, as adapters have."""

    module = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "c": Own(4, 4)})
    pack_linears(module)
    assert isinstance(module["a"], PackedLinear)
    assert [type(part) for part in module["b"]] == [PackedLinear, nn.LayerNorm]
    assert type(module["c"]) is Own
