"""The step that runs where the gate refused: nothing is deployed, and the log says why and what is served still."""


def keep_champion(title: str, deployment: str, storage: str) -> str:
    """Name of the system that is served still, or an empty text."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.serving.releases import champion

        served = champion(storage, deployment)
        system = str(served["system"]) if served else ""
        print(f"the gate accepted no system; served still: {system or 'none'}")
    return system
