"""The processes that train one job together: which of them this is, and what they must do at the same time.

`training.launch` starts them; torch.distributed connects them. One process alone is a world of size 1, and nothing here
then waits or sends.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """The processes of one training run.

    Attributes:
        rank: this one, from 0.
        size: how many there are.
        local_rank: this one on its node, from 0.
        node: its node, from 0.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    node: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0


T = TypeVar("T")
ALONE = World()
"""One process by itself."""


def current_world() -> World:
    """The world that a launcher's variables tell of (those of torchrun)."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK")
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # a cluster sets RANK too, to the node's
        return ALONE
    return World(*(int(os.environ.get(name, default)) for name, default in zip(names, "0100", strict=True)))


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier()


def sum_over_all(values: Tensor) -> Tensor:
    """The elementwise sum over all processes, known to each of them."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values)
    return values


def gather_over_all(part: T) -> list[T]:
    """What every process gives, known to each of them, in the order of ranks."""
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return [part]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


@contextmanager
def node_folder(world: World) -> Iterator[Path]:
    """A temporary folder that the processes of this node share.

    The node's first process makes it, and takes it away when it leaves: the others must be done with it by then.
    """
    with tempfile.TemporaryDirectory(prefix="taskmix-train-") as own:
        folder = own
        if world.size > 1:
            told = gather_over_all((world.node, world.local_rank, own))
            folder = next(path for node, local_rank, path in told if node == world.node and local_rank == 0)
        yield Path(folder)


def release_memory() -> None:
    """Give the GPU back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def forget_peak_memory() -> None:
    """Let `peak_memory_gib` begin anew; of the host, the kernel counts for a process's whole life."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_gib() -> float:
    """The most memory that this process has held: of its GPU by torch's allocator, else of the host."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
