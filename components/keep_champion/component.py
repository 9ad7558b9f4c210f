"""The step that runs where nothing is deployed: the gate refused, or the run's best system is served already."""


def keep_champion(title: str, report: str, deployment: str, storage: str) -> str:
    """Name of the system that is served still, or an empty text."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.evaluation.gate import read_verdict
        from taskmix.serving.releases import champion

        served = champion(storage, deployment)
        system = str(served["system"]) if served else ""
        why = "nothing new" if read_verdict(report).nothing_new else "the gate accepted no system"
        print(f"{why}; served still: {system or 'none'}")
    return system
