"""The step that compares all systems in one report."""
