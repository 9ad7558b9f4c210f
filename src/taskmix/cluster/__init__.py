"""For Kubernetes: InferenceServices, TrainJobs and the lock between deployers; the only place with its clients."""
