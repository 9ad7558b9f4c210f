import copy

import pytest
import torch
from torch import nn

from taskmix.modeling.packed_layers import PackedLinear, can_pack, pack_linears


def network(*, bias: bool) -> nn.Module:
    torch.manual_seed(13)
    return nn.Sequential(nn.Linear(48, 96, bias=bias), nn.GELU(), nn.Sequential(nn.Linear(96, 7)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@torch.inference_mode()
def test_packed_layers_compute_what_the_layers_did(dtype: torch.dtype, tolerance: float, bias: bool) -> None:
    plain = network(bias=bias).to(dtype)
    packed = copy.deepcopy(plain)
    pack_linears(packed)
    for rows in (1, 14, 300):
        input_BTD = torch.randn(2, rows, 48, dtype=dtype)
        torch.testing.assert_close(packed(input_BTD), plain(input_BTD), atol=tolerance, rtol=tolerance)


def test_fp32_layers_stay_what_they_are_but_for_the_order_in_memory() -> None:
    module = network(bias=True)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    pack_linears(module)
    assert module[0].weight.stride() == (1, 96)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.skipif(not can_pack(), reason="this CPU's torch has none of oneDNN's layouts")
def test_every_linear_layer_in_bf16_is_packed_and_no_other() -> None:
    class Own(nn.Linear):
        """A layer with a forward pass of its own, as adapters have."""

    module = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "c": Own(4, 4)})
    pack_linears(module.to(torch.bfloat16))
    assert isinstance(module["a"], PackedLinear)
    assert [type(part) for part in module["b"]] == [PackedLinear, nn.LayerNorm]
    assert type(module["c"]) is Own
