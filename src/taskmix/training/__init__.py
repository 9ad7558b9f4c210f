"""Train a job: from mixtures to a bundle. Never imports evaluation or serving."""
