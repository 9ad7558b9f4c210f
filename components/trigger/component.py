"""The step that decides whether a run learns from a dataset's new version, or holds on to the champion's."""


def trigger(title: str, config: str, dataset: str, fresh: str, run: str) -> str:
    """URI of the version of the dataset that the run learns from."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.config.schema import Config
        from taskmix.evaluation.trigger import decide

        decision = decide(Config.model_validate_json(config), dataset=dataset, fresh=fresh, run=run)
        print(f"{'learns from it' if decision.retrain else 'holds still'}: {decision.reason}")
    return decision.uri
