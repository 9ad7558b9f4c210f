"""The step that trains one job: one model on one block of tasks."""

from kfp.dsl import Model, Output


def finetune(title: str, slice: str, datasets: list[str], storage: str, model: Output[Model]) -> str:
    """URI of the job."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.config.plan import JobSlice
        from taskmix.training import job
        from taskmix_components.artifacts import describe_bundle

        uri = job.finetune(JobSlice.model_validate_json(slice), datasets=datasets, storage=storage)
        describe_bundle(model, uri)
    return uri
