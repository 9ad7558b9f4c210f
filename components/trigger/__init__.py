"""The step that decides whether a run learns from a dataset's new version."""
