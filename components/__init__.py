"""KFP components: one folder a step, thin, calling taskmix. Installed as `taskmix_components`."""
