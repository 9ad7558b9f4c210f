from __future__ import annotations

from taskmix.training.code import code_version, deciding_modules


def test_an_encoders_result_hangs_on_its_own_modules_and_the_shared_ones() -> None:
    modules = deciding_modules("taskmix.training.encoder")
    assert {"taskmix.training.encoder", "taskmix.training.batches", "taskmix.modeling.encoder"} <= modules
    assert {"taskmix.data.mixture", "taskmix.data.schema", "taskmix.modeling.calibration"} <= modules


def test_another_kinds_code_and_readers_decide_nothing() -> None:
    modules = deciding_modules("taskmix.training.encoder")
    assert not [module for module in modules if "linear" in module or "readers" in module or "serving" in module]


def test_kinds_have_versions_of_their_own() -> None:
    assert code_version("encoder") != code_version("linear")
