"""The step that brings one dataset to storage, checked and in one schema."""

from kfp.dsl import Dataset, Output


def ingest(title: str, slice: str, version: str, storage: str, dataset: Output[Dataset]) -> str:
    """URI of the dataset."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.config.plan import DatasetSlice
        from taskmix.data import ingest
        from taskmix_components.artifacts import describe_folder

        uri = ingest.ingest(DatasetSlice.model_validate_json(slice), storage=storage, version=version)
        describe_folder(dataset, uri)
    return uri
