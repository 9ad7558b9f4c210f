"""The step that compares served answers with the evaluated ones: of a release on this machine, or of the champion."""


def smoke_test(title: str, release: str, slice: str, target: str) -> str:
    """URI of the release, the champion; `target` is `local`, where the test promotes it, or `kserve`."""
    from taskmix_components.step import step

    with step(title):
        if target == "kserve":
            from taskmix.cluster import deploying
            from taskmix.config.plan import DeploymentSlice

            deploying.verify(release, DeploymentSlice.model_validate_json(slice))
        else:
            from taskmix.serving import releases, smoke

            smoke.smoke_test(release)
            releases.promote(release)
    return release
