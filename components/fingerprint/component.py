"""The step that tells which version of a dataset lies at its source; the only one that KFP must never cache."""


def fingerprint(title: str, slice: str) -> str:
    """Version of a dataset's source."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.config.plan import DatasetSlice
        from taskmix.data.ingest import source_version

        version = source_version(DatasetSlice.model_validate_json(slice))
    return version
