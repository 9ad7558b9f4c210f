"""The end of a local run: what was done, the leaderboard, where the report lies, the verdict, how to call the model."""
