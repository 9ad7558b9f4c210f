"""The graph: build, compile, run locally. Installed as `taskmix_pipelines`."""
