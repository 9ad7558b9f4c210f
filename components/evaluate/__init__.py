"""The step that evaluates one job."""
