"""The step that stages the best system and, on a cluster, rolls it out: canary, test, promotion or return."""


def deploy(title: str, report: str, slice: str, run: str, target: str) -> str:
    """URI of the release; `target` is `local`, where nothing is served before the smoke test, or `kserve`."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.config.plan import DeploymentSlice
        from taskmix.serving.releases import stage

        settings = DeploymentSlice.model_validate_json(slice)
        release = stage(report, deployment=settings.deployment.name, run=run)
        if target == "kserve":
            from taskmix.cluster import deploying

            deploying.deploy(release, settings)
    return release
