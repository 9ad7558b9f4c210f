"""For Kubernetes: InferenceService and training jobs, the only place that will import its clients. Empty so far."""
