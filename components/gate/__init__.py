"""The step that decides whether the best system may be deployed."""
