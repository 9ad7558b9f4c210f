"""The step that trains one job: one model on one block of tasks."""

from kfp.dsl import Model, Output


def finetune(title: str, slice: str, datasets: list[str], storage: str, nodes: str, model: Output[Model]) -> str:
    """URI of the job; `nodes` is empty where this step trains itself."""
    from taskmix_components.step import step

    with step(title):
        from taskmix_components.artifacts import describe_bundle
        from taskmix_components.finetune.places import train

        uri = train(slice, datasets=datasets, storage=storage, nodes=nodes)
        describe_bundle(model, uri)
    return uri
