"""The part of `taskmix plan` that says whether decoders fit their GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskmix.cli.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table

    from taskmix.config.plan import Plan
    from taskmix.config.schema import DecoderModel, Hardware
    from taskmix.training.model_shapes import ModelShape


def tuned_decoders(plan: Plan) -> dict[str, DecoderModel]:
    """The models whose training is to fit a GPU, by name: decoders that are tuned."""
    from taskmix.config.schema import DecoderModel

    used = {job.model for job in plan.jobs}
    return {
        name: model
        for name, model in plan.config.models.items()
        if name in used and isinstance(model, DecoderModel) and model.tuning != "none"
    }


def memory_table(plan: Plan) -> Table:
    """What training each tuned decoder takes of each GPU, in GiB."""
    from taskmix.training.memory import estimate
    from taskmix.training.model_shapes import shape_of

    columns = ("model", "weights by", "parameters", "weights", "gradients", "optimizer", "activations", "working")
    table = make_table("Memory to train, GiB of each GPU (an estimate)", *columns, "in all", "of", "host")
    for name, model in tuned_decoders(plan).items():
        shape, hardware = shape_of(model), _hardware(plan, model)
        if shape is None:
            table.add_row(name, f"unknown: {model.checkpoint} cannot be read, and is none whose shape is published")
            continue
        gpus, nodes = (hardware.gpus, hardware.nodes) if hardware else (1, 1)
        taken = estimate(model, shape=shape, gpus=gpus, nodes=nodes)
        parts = (taken.weights_gib, taken.gradients_gib, taken.optimizer_gib, taken.activations_gib, taken.working_gib)
        most = f"{hardware.gpu_memory_gib:g}" if hardware and hardware.gpu_memory_gib else "not told"
        figures = [f"{part:,.2f}" for part in (*parts, taken.total_gib)]
        table.add_row(name, shape.told_by, f"{shape.parameters:,}", *figures, most, f"{taken.host_gib:,.1f}")
    return table


def memory_problems(plan: Plan) -> list[str]:
    """One sentence a model that cannot fit the GPUs it is given, with what would make it fit."""
    from taskmix.training.memory import estimate
    from taskmix.training.model_shapes import shape_of

    problems = []
    for name, model in tuned_decoders(plan).items():
        shape, hardware = shape_of(model), _hardware(plan, model)
        if shape is None or hardware is None or hardware.gpu_memory_gib is None:
            continue
        total = estimate(model, shape=shape, gpus=hardware.gpus, nodes=hardware.nodes).total_gib
        if total > hardware.gpu_memory_gib:
            problems.append(_problem(name, model, shape=shape, hardware=hardware, total_gib=total))
    return problems


def _problem(name: str, model: DecoderModel, *, shape: ModelShape, hardware: Hardware, total_gib: float) -> str:
    from taskmix.training.memory import remedies

    told = []
    for remedy in remedies(model, shape=shape, hardware=hardware):
        keys = [f"{_key(key)} {value}" for key, value in remedy.settings.items()]
        told.append(f"{', '.join(keys).lower()} (then {remedy.total_gib:,.0f} GiB)")
    allowed = " or ".join(told) or "none found: take a smaller model, or GPUs with more memory"
    gpus = max(1, hardware.gpus) * hardware.nodes
    return (
        f"models.{name}.hardware: '{model.hardware}' has {gpus} GPU{'s' if gpus > 1 else ''} of "
        f"{hardware.gpu_memory_gib:g} GiB, but training {shape.parameters / 1e9:,.1f} billion weights takes about "
        f"{total_gib:,.0f} GiB of each; what fits: {allowed}"
    )


def _key(setting: str) -> str:
    return setting if setting in ("tuning", "GPUs") else f"recipe.{setting}"


def _hardware(plan: Plan, model: DecoderModel) -> Hardware | None:
    return plan.config.hardware.get(model.hardware) if model.hardware else None
