"""The step that evaluates one job on the test split: predictions, scores, latency."""

from kfp.dsl import ClassificationMetrics, Metrics, Output


def evaluate(
    title: str,
    slice: str,
    job: str,
    datasets: list[str],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
) -> str:
    """URI of the evaluation."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.config.plan import EvaluationSlice
        from taskmix.evaluation import evaluate
        from taskmix_components.artifacts import describe_scores

        uri = evaluate.evaluate(job, slice=EvaluationSlice.model_validate_json(slice), datasets=datasets)
        describe_scores(metrics, confusion, uri)
    return uri
