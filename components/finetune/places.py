"""Where a job is trained: in the step itself, or on nodes of the cluster."""

from __future__ import annotations

from collections.abc import Sequence

from taskmix.config.plan import JobSlice, NodesSlice


def train(slice: str, *, datasets: Sequence[str], storage: str, nodes: str) -> str:
    """URI of the trained job.

    Args:
        slice: the job's, as JSON.
        datasets: URIs of the datasets of its tasks.
        storage: root of the run's storage.
        nodes: what a TrainJob needs, as JSON; empty trains here.
    """
    job = JobSlice.model_validate_json(slice)
    if nodes:
        from taskmix.cluster import training as cluster

        several = NodesSlice.model_validate_json(nodes)
        return cluster.finetune(job, datasets=datasets, storage=storage, nodes=several)
    from taskmix.training.job import finetune

    return finetune(job, datasets=datasets, storage=storage)
