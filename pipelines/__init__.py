"""The graph: build, compile, run locally or on a cluster, on schedule. Installed as `taskmix_pipelines`."""
