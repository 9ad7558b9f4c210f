"""The step that tells which version of a dataset lies at its source."""
