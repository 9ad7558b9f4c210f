"""The step that stages the best system for deployment; nothing is served from it until the smoke test has passed."""


def deploy(title: str, report: str, deployment: str, run: str) -> str:
    """URI of the release."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.serving.releases import stage

        release = stage(report, deployment=deployment, run=run)
    return release
