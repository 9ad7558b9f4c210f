"""The step that brings one dataset to storage."""
