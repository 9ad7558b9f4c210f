"""Kubernetes' quantities: what a hardware profile asks for, in the words of a pod's resources."""

from __future__ import annotations

from taskmix.config.schema import Hardware


def cpu_quantity(cpus: float) -> str:
    """`8`, `1500m`."""
    return _quantity(cpus, whole="", thousandth="m", thousand=1000)


def memory_quantity(gib: float) -> str:
    """`64Gi`, `1536Mi`."""
    return _quantity(gib, whole="Gi", thousandth="Mi", thousand=1024)


def resource_quantities(hardware: Hardware) -> dict[str, str]:
    """Resource to quantity, for requests and limits alike, so that the pod is evicted last; may be empty."""
    quantities = {}
    if hardware.cpus is not None:
        quantities["cpu"] = cpu_quantity(hardware.cpus)
    if hardware.memory_gib is not None:
        quantities["memory"] = memory_quantity(hardware.memory_gib)
    if hardware.gpus:
        quantities[hardware.accelerator] = str(hardware.gpus)
    return quantities


def _quantity(amount: float, *, whole: str, thousandth: str, thousand: int) -> str:
    """A quantity without a fraction."""
    if amount == int(amount):
        return f"{int(amount)}{whole}"
    return f"{round(amount * thousand)}{thousandth}"
