"""The step that trains one job."""
