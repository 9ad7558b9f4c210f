"""The step that stages the best system for deployment."""
