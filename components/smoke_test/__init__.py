"""The step that serves a release once, compares its answers and promotes it."""
