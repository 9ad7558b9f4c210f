"""LoRA by peft: adapters added before training, and merged into the weights after it, so that serving needs no peft."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskmix.config.schema import Lora
from taskmix.errors import TrainingError


def add_lora(module: Any, lora: Lora) -> Any:
    """The model with low-rank adapters, the only weights that then learn.

    Raises:
        TrainingError: `targets` names no module of the model.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # only divided by the rank
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type="CAUSAL_LM",
    )
    try:
        with _old_name():
            return get_peft_model(module, config)
    except ValueError as error:
        names = sorted({name.rsplit(".", 1)[-1] for name, part in module.named_modules() if hasattr(part, "weight")})
        raise TrainingError(
            f"recipe.lora.targets {lora.targets!r} fit no module of the model ({error}); its modules are {names}"
        ) from None


def merge_lora(base: Any, adapters: Path) -> Any:
    """The model whose weights are those of `base` with the adapters in the folder `adapters` added to them."""
    from peft import PeftModel

    with _old_name():
        return PeftModel.from_pretrained(base, str(adapters)).merge_and_unload()


@contextmanager
def _old_name() -> Iterator[None]:
    """Peft 0.21 asks transformers 5.23 by an old name, which warns; this can go when peft knows the new one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        yield
