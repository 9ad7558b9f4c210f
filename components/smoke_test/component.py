"""The step that serves a release once, compares its answers with the evaluated ones, and promotes it to champion."""


def smoke_test(title: str, release: str) -> str:
    """URI of the release, now the champion."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.serving import releases, smoke

        smoke.smoke_test(release)
        releases.promote(release)
    return release
