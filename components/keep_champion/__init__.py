"""The step of the other branch: nothing is deployed."""
