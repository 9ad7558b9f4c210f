"""The step that exports the winner's encoders for the configured backend, and refuses one that loses too much."""


def export(title: str, report: str, backend: str, max_loss: float) -> str:
    """URI of the report, as it came: who gets it from here knows that the export is made."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.evaluation.exports import export_winner

        export_winner(report, backend=backend, max_loss=max_loss)
    return report
