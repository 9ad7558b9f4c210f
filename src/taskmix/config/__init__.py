"""The configuration: its shape, its reading, and the plan that follows from it."""
